"""With a proxy for everything in the environment, no command sends it what is meant for loopback."""

import json
from http.server import BaseHTTPRequestHandler

import pytest

from tests.cli.commands import codenas, complaint, shown
from tests.loopback import http_server, proxied_environment
from tests.serve.servers import running, tiny_app


class Dashboard(BaseHTTPRequestHandler):
    """A cluster without jobs, as much of it as lists them."""

    def do_GET(self) -> None:
        version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "x"}
        body = json.dumps(version if self.path == "/api/version" else []).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not on standard error."""


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_complete(scheme: str, how: str) -> None:
    with running(tiny_app()) as url, proxied_environment(scheme) as sent:
        shown("complete", "--url", url, "--max-tokens", "3", how, "def secret")
    assert sent == []


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_jobs(scheme: str) -> None:
    with http_server(Dashboard) as url, proxied_environment(scheme) as sent:
        assert "Jobs at" in shown("jobs", "--address", url)
    assert sent == []


@pytest.mark.parametrize(
    "command", [("complete", "--url", "http://host.invalid", "a"), ("jobs", "--address", "http://host.invalid:8265"), ("logs", "x")]
)
def test_a_proxy_that_cannot_be_used_for_another_host(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://host.invalid:8265")
    with proxied_environment("socks5") as sent:
        assert "the proxy in ALL_PROXY, all_proxy, HTTP_PROXY" in complaint(*command)
    assert sent == []


def test_another_host_is_reached_by_the_proxy() -> None:
    with proxied_environment() as sent:
        done = codenas("complete", "--url", "http://host.invalid", "a")
    assert done.exit_code == 2 and "host.invalid answers 502" in done.stderr and len(sent) == 1
