"""A search on a cluster of several nodes, everything killed in turn at random moments: what comes out, and what is trained again.

A head and two workers on 127.0.0.1. SIGKILL goes to the process of a trial, to a worker node with all its processes, to the
driver, to the driver of a submitted job, and to the head, which is started again. One JSON line per bar: the history and the
winner are those of the undisturbed search with the same seed, and no finished rung is trained again. That is seen from the stored
weights: another training of a rung would put another file in the place of the first.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.fakes import tiny_corpus
from tests.nodes import ROOT, Driver, Nodes, essence, finished_rungs, nodes, stored_weights, wait_until

SEED = 0
JOB = """
[search]
seed = 3
budget = { candidates = 16, rungs = [1000, 4000], promote = [4] }
objectives = [{ metric = "bits_per_byte", weight = 1.0 }]
train = { batch_size = 4, precision = "float32" }
trial = { score_tokens = 256, latency_tokens = 4, retries = 1 }
[search.space]
base = { d_model = 32, n_layers = 1, context_len = 32 }
choices = { d_model = [16, 32, 48, 64], n_layers = [1, 2, 3], norm = ["rmsnorm", "layernorm"] }
"""


class Drill:
    """One search, disturbed: its run, its cluster, and the files of the rungs that were finished at each fault."""

    def __init__(self, cluster: Nodes, folder: Path, seed: int) -> None:
        self._cluster, self._folder, self._rng = cluster, folder, random.Random(seed)
        self.run, self.job = folder / "run", folder / "job.toml"
        self._kept: dict[str, int] = {}

    def kill_a_trial(self, driver: Driver) -> None:
        """SIGKILL to the process of some trial."""
        self._rng.choice(self._some_trials(driver)).kill()

    def kill_a_node(self, driver: Driver) -> None:
        """SIGKILL to a worker node that trains; another one joins."""
        self._some_trials(driver)
        node = self._rng.choice([node for node in self._cluster.workers if node.trials()] or self._cluster.workers)
        self._cluster.workers.remove(node)
        node.kill()
        self._cluster.add_worker()

    def kill_the_driver(self, driver: Driver) -> None:
        """SIGKILL to `codenas search`."""
        driver.process.kill()
        driver.process.wait()

    def kill_the_jobs_driver(self) -> None:
        """SIGKILL to the `codenas search` of the job that was submitted."""
        head = self._cluster.head
        assert head is not None
        for process in head.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # others come and go
                if "codenas search" in " ".join(process.cmdline()):
                    process.kill()

    def restart_the_head(self) -> None:
        """SIGKILL to all nodes, the head first; a new cluster at the same address."""
        head = self._cluster.head
        assert head is not None
        for node in (head, *self._cluster.workers):
            node.kill()
        self._cluster.workers.clear()
        self._cluster.start_head(dashboard=True)
        for _ in range(2):
            self._cluster.add_worker()

    def some_time(self, driver: Driver) -> None:
        """Let the search go on for a random while, and note what is finished by then."""
        driver.until(reports=driver.reports() + self._rng.randint(1, 2))
        threading.Event().wait(self._rng.random())
        self._kept |= stored_weights(self.run)

    def submit(self) -> Driver:
        """Hand the search over to the cluster, and follow it."""
        command = ["submit", "search", str(self.job), "--run", str(self.run), "--address", self._cluster.dashboard, "--follow"]
        return Driver.command(self._cluster, self.run, *command)

    def trained_again(self) -> int:
        """Finished rungs that were trained again."""
        now = stored_weights(self.run)
        return sum(now.get(name) != file for name, file in self._kept.items()) + sum(
            times - 1 for times in finished_rungs(self.run).values()
        )

    def _some_trials(self, driver: Driver) -> list[psutil.Process]:
        wait_until(lambda: any(node.trials() for node in self._cluster.workers), driver.log)
        return [process for node in self._cluster.workers for process in node.trials()]


def measure(seed: int = SEED) -> dict[str, object]:
    """All faults in one search, the drivers' from their own machine first, then as jobs of the cluster."""
    with tempfile.TemporaryDirectory() as name, nodes() as cluster:
        folder = Path(name)
        corpus = tiny_corpus(folder / "corpus").path
        drill = Drill(cluster, folder, seed)
        drill.job.write_text(JOB)
        _undisturbed(folder, corpus)
        cluster.start_head(dashboard=True)
        for _ in range(2):
            cluster.add_worker()
        driver = Driver.start(cluster, drill.run, "--run", drill.run, "--job", drill.job, "--corpus", corpus)
        for fault in (drill.kill_a_trial, drill.kill_a_node, drill.kill_the_driver):
            _strike(drill, driver, fault.__name__, lambda fault=fault, driver=driver: fault(driver))  # type: ignore[misc]
        for strike in (drill.kill_the_jobs_driver, drill.restart_the_head):
            driver = drill.submit()
            _strike(drill, driver, strike.__name__, strike)
            driver.process.wait()
        last = drill.submit()
        assert last.process.wait() == 0, last.log()
        same = essence(drill.run) == essence(folder / "calm")
        again = drill.trained_again()
        return {"seed": seed, "faults": 5, "same_history_front_and_winner": same, "finished_rungs_trained_again": again}


def _strike(drill: Drill, driver: Driver, name: str, fault: Callable[[], None]) -> None:
    drill.some_time(driver)
    reports = driver.reports()
    fault()
    print(json.dumps({"fault": name, "at_reports": reports, "finished_rungs_trained_again": drill.trained_again()}), flush=True)


def _undisturbed(folder: Path, corpus: Path) -> None:
    command = [sys.executable, "-m", "codenas", "search", "--no-ray", "--run", str(folder / "calm")]
    command += ["--job", str(folder / "job.toml"), "--corpus", str(corpus)]
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=True, capture_output=True)
    print(json.dumps({"undisturbed_seconds": round(time.monotonic() - started, 1)}), flush=True)
