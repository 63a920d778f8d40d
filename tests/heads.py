"""A cluster of its own on 127.0.0.1, as `docker/entrypoint.sh` starts one: its head, with dashboard, jobs and client server."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil

from tests.loopback import free_port
from tune_jobs.cluster.reaper import reaped_folder

ROOT = Path(__file__).parents[1]
_PATIENCE_S = 100


@dataclass(slots=True, frozen=True)
class Head:
    """A head that is up: its dashboard, its server of clients, what Prometheus reads."""

    url: str
    client: str
    metrics: str
    token: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def tree(self) -> list[psutil.Process]:
        """Its processes."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def titles(self) -> list[str]:
        """What its processes are called."""
        titles = []
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                titles.append(" ".join(process.cmdline()))
        return titles

    def listeners(self) -> set[str]:
        """The addresses that its processes listen on."""
        return {each.laddr.ip for process in self.tree() for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}


@contextlib.contextmanager
def head() -> Iterator[Head]:
    """Start a head; all that it started is gone afterwards, also when this process is killed."""
    token, dashboard, agent, client, metrics = secrets.token_hex(16), *(free_port() for _ in range(4))
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_metrics_report_interval_ms": "3000",  # by default 10,000; more than lies between two reports of a trial
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(_PATIENCE_S),  # by default 30, in which a busy machine starts no process
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with reaped_folder() as folder, (folder / "head.log").open("wb") as log:
        command = ["ray", "start", "--head", "--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1"]
        command += ["--port", str(free_port()), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
        command += ["--dashboard-agent-listen-port", str(agent)]
        command += ["--ray-client-server-port", str(client), "--temp-dir", str(folder)]
        command += ["--metrics-export-port", str(metrics)]
        command += ["--num-cpus", "2", "--object-store-memory", "100000000"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            found = Head(
                f"http://127.0.0.1:{dashboard}", f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{metrics}", token, folder, process
            )
            for url in (f"{found.url}/api/version", f"http://127.0.0.1:{agent}/api/local_raylet_healthz"):  # the agent starts jobs
                _await(partial(_answers, url, token), found)
            _await(partial(_connects, client), found)
            yield found
        finally:
            process.kill()  # what it started is reaped
            process.wait()


def _await(ready: Callable[[], bool], starting: Head) -> None:
    """Wait until `ready`: who does not listen yet gives no event to wait on."""
    pause = threading.Event()
    for _ in range(_PATIENCE_S * 10):
        if ready():
            return
        assert starting.process.poll() is None, (starting.folder / "head.log").read_text()
        pause.wait(0.1)
    raise AssertionError((starting.folder / "head.log").read_text())


def _answers(url: str, token: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    return False


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
