"""A cluster of several nodes on 127.0.0.1, each a process tree of its own that can be killed: what is tested is what is left."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from codenas.experiment.run import Run
from codenas.files import is_complete_json
from codenas.search.result import SearchFolder
from tests.loopback import free_port
from tests.processes import title, tree
from tune_jobs.cluster.reaper import reaped_folder

ROOT = Path(__file__).parents[1]
_PATIENCE_S = 300  # generous: it bounds a hang, it measures nothing

# `ray start`, as if more than one node were allowed on a machine that Ray keeps to itself: on loopback it allows one.
_START = """
import os, sys
from ray._private import services
from ray.scripts import scripts
services.resolve_ip_for_localhost = lambda host: host
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
scripts.main()
"""
_UP = "Ray runtime started"


def wait_until(happened: Callable[[], bool], explain: Callable[[], str] = lambda: "") -> None:
    """Wait until `happened`: files and processes of others give no event to wait on."""
    end, pause = time.monotonic() + _PATIENCE_S, threading.Event()
    while not happened():
        assert time.monotonic() < end, f"nothing happened in {_PATIENCE_S} s: {explain()}"
        pause.wait(0.05)


@dataclass(slots=True)
class Node:
    """A node: its `ray start`, and all that this started."""

    process: psutil.Popen
    log: Path

    def up(self) -> bool:
        """Whether it says that it has started."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        return _UP in self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to the raylet and all its processes at once, as when the power goes."""
        processes = tree(self.process)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def trials(self) -> list[psutil.Process]:
        """Its processes that train candidates now."""
        return [process for process in tree(self.process) if "Trainable.train" in title(process)]


@dataclass(slots=True)
class Nodes:
    """A cluster: a head that runs no trial, and workers."""

    folder: Path
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    dashboard: str = ""
    head: Node | None = None
    workers: list[Node] = field(default_factory=list)
    _started: int = 0

    @property
    def address(self) -> str:
        """Where the head listens for nodes and drivers."""
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a driver."""
        theirs = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a submitted job looks for `codenas` there
        return {**theirs, **token, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def start_head(self, dashboard: bool = False) -> None:
        """Start the head; with a `dashboard` jobs can be submitted to it."""
        options = ["--head", "--port", str(self.port), "--num-cpus", "0"]
        options += ["--include-dashboard", str(dashboard).lower(), "--dashboard-host", "127.0.0.1"]
        if dashboard:
            port = free_port()
            self.dashboard = f"http://127.0.0.1:{port}"
            options += ["--dashboard-port", str(port), "--dashboard-agent-listen-port", str(free_port())]
        self.head = self._start(*options)

    def add_worker(self, cpus: int = 1, gpus: int = 0, environment: Mapping[str, str] | None = None) -> Node:
        """Start another node; its processes have the `environment` too."""
        node = self._start("--address", self.address, "--num-cpus", str(cpus), "--num-gpus", str(gpus), environment=environment)
        self.workers.append(node)
        return node

    def _start(self, *options: str, environment: Mapping[str, str] | None = None) -> Node:
        self._started += 1
        path, own = self.folder / f"node{self._started}.log", self.folder / str(self._started)
        command = [sys.executable, "-c", _START, "start", "--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1"]
        command += ["--object-store-memory", "80000000", *options]
        command += ["--temp-dir", str(own)]  # or each would unpack what a job ships over the others' copies, which they work in
        niceness = {"RAY_worker_niceness": "0"}  # at Ray's 15 any other work on the machine stops them
        with path.open("wb") as log:
            process = psutil.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **niceness, **(environment or {})},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        node = Node(process, path)
        wait_until(node.up, lambda: path.read_text(errors="replace"))
        return node


@dataclass(slots=True)
class Driver:
    """A command that makes a search go on, as a process of its own."""

    run: Path
    process: psutil.Popen

    @classmethod
    def start(cls, cluster: Nodes, run: Path, *options: str | Path) -> "Driver":
        """`codenas search` on the cluster, with more `options`."""
        return cls.command(cluster, run, "search", *map(str, options), "--address", cluster.address)

    @classmethod
    def command(cls, cluster: Nodes, run: Path, *arguments: str) -> "Driver":
        """Any command of `codenas` that makes the search of `run` go on; what it says goes to `run`.log."""
        command = [sys.executable, "-m", "codenas", *arguments]
        with Path(f"{run}.log").open("ab") as log:
            process = psutil.Popen(command, cwd=ROOT, env=cluster.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return cls(run, process)

    def until(self, reports: int) -> None:
        """Wait until the history has so many reports; fails when the process ends before."""
        wait_until(lambda: self.reports() >= reports or self.process.poll() is not None, self.log)
        assert self.reports() >= reports, self.log()

    def reports(self) -> int:
        """How many reports the history has."""
        return finished_rungs(self.run).total()

    def log(self) -> str:
        """What the drivers of the run have said."""
        return Path(f"{self.run}.log").read_text(errors="replace")


@contextlib.contextmanager
def nodes() -> Iterator[Nodes]:
    """A cluster without nodes; all that are started in it are gone afterwards, also when this process is killed."""
    with reaped_folder() as folder:
        cluster = Nodes(folder)
        try:
            yield cluster
        finally:
            for node in filter(None, (*cluster.workers, cluster.head)):
                node.kill()


def essence(run: Path) -> tuple[object, ...]:
    """All of a finished search that no clock decides."""
    finished = SearchFolder(Run(run).search).finished()
    assert finished is not None
    result, history = finished
    reports = [
        (trial.candidate, sorted((report.rung, report.steps, report.metrics.bits_per_byte) for report in trial.reports))
        for trial in history.trials
    ]
    return result.winner, result.finalists, result.steps, result.failed, reports


def finished_rungs(run: Path) -> Counter[tuple[int, int]]:
    """How often the history has a report of each candidate and rung."""
    path = Run(run).search / "trials.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    events: list[dict[str, Any]] = [json.loads(line) for line in lines if is_complete_json(line)]
    return Counter((event["index"], event["rung"]) for event in events if event["event"] == "report")


def stored_weights(run: Path) -> dict[str, int]:
    """The file of every stored rung: another training of it would put another file in its place."""
    checkpoints = SearchFolder(Run(run).search).checkpoints
    return {str(path.relative_to(checkpoints)): path.stat().st_ino for path in checkpoints.glob("c*/[1-9]*/model.safetensors")}
