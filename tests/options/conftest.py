"""The world of the cases, and what stands in for the work of other processes: each stage runs here, one piece after the other."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import ray

from codenas.experiment.local import search_locally
from data_prep import pipeline
from serve import launch
from serve.app import open_app
from serve.port import require_free_port
from serve.settings import ServeSettings
from tests.cli.test_sample_stats import one_after_the_other
from tests.data_prep.example_documents import plain_stream
from tests.loopback import free_port, http_server
from tests.options.world import build_world
from tests.serve.servers import running
from tune_jobs.cluster import local


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of each command how many pairs ended how; also where the tests ran in other processes."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, ())]
    for line in (value for report in reports for name, value in report.user_properties if name == "pairs"):
        terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every case gets a copy of."""
    return build_world(tmp_path_factory.mktemp("world"))


class _Completions(BaseHTTPRequestHandler):
    """An endpoint that answers every request by the same event."""

    def do_POST(self) -> None:
        """Read the request, as a real one does, and answer it."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"choices": [{"text": "pass"}], "usage": {"completion_tokens": 1}})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"data: {answer}\n\ndata: [DONE]\n\n".encode() if asked.get("stream") else answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What stands for itself in the values of options: a free port, an endpoint, the folder of the case."""
    with http_server(_Completions) as url:
        yield {"PORT": str(free_port()), "URL": url, "WORLD": str(tmp_path / "case")}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Ray: documents are examined, candidates trained, vocabularies drawn and the model served in this process."""
    joined = local.local_ray

    def local_ray(
        cpus: int | None = None, address: str | None = None, gpus: Sequence[int] | None = None
    ) -> contextlib.AbstractContextManager[Path | None]:
        return contextlib.nullcontext() if address is None else joined(cpus, address)

    monkeypatch.setattr(local, "local_ray", local_ray)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(
        "tune_jobs.launch.search", lambda job, corpus, folder, scratch, mirror=None: search_locally(job, corpus, folder, mirror)
    )
    monkeypatch.setattr(pipeline, "_stream", plain_stream)
    monkeypatch.setattr("data_prep.tokens.sampling.sample_on_ray", one_after_the_other)
    with contextlib.ExitStack() as servers:

        def start(settings: ServeSettings) -> str:
            require_free_port(settings.host, settings.port)
            launch._require_device(settings.device)
            return servers.enter_context(running(open_app(settings)))

        monkeypatch.setattr(launch, "start", start)
        monkeypatch.setattr(launch, "stop", servers.close)
        monkeypatch.setattr("codenas.cli.serve._wait", lambda: None)
        yield
