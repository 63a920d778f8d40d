"""Requests to loopback are nobody else's; others take the proxy of the environment, or say in a line why they cannot."""

import httpx
import pytest

from codenas.errors import ConfigError
from codenas.http_client import http_client
from tests.loopback import proxied_environment
from tests.serve.servers import running, tiny_app


@pytest.mark.parametrize("scheme", ["http", "socks5", "nonsense"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_uses_no_proxy(scheme: str, host: str) -> None:
    with running(tiny_app()) as url, proxied_environment(scheme) as sent:
        url = url.replace("127.0.0.1", host)
        with http_client(url, timeout=10) as client:
            assert client.get(f"{url}/health").status_code == 200
    assert sent == []


def test_other_hosts_use_the_proxy_and_a_redirect_to_loopback_does_not() -> None:
    with running(tiny_app()) as url, proxied_environment() as sent, http_client("http://host.invalid", timeout=10) as client:
        assert client.get("http://host.invalid/page").status_code == 502
        assert client.get(f"{url}/health").status_code == 200
    assert len(sent) == 1 and sent[0].startswith(b"GET http://host.invalid/page")


@pytest.mark.parametrize("scheme", ["socks5", "nonsense"])
def test_a_proxy_that_cannot_be_used_is_one_line(scheme: str) -> None:
    with proxied_environment(scheme), pytest.raises(ConfigError) as caught:
        http_client("http://host.invalid")
    assert "HTTP_PROXY" in str(caught.value) and "\n" not in str(caught.value)


def test_options_are_the_client_s() -> None:
    with http_client("http://127.0.0.1", headers={"Authorization": "Bearer x"}, timeout=3) as client:
        assert client.headers["Authorization"] == "Bearer x" and client.timeout == httpx.Timeout(3)
