"""The demo as a process of its own, watched and killed from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.loopback import free_port
from tests.processes import title, tree

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 150  # generous: it bounds a hang, it measures nothing

JOB = """
[prepare]
source = {source}
vocab_size = 300
valid_share = 0.15
test_share = 0.15

[search]
strategy = "evolution"
seed = 1
budget = {{ candidates = 5, rungs = [30, 90], promote = [2] }}
objectives = [
    {{ metric = "bits_per_byte", weight = 0.8 }},
    {{ metric = "size_bytes", weight = 0.2, limit = 60_000 }},
    {{ metric = "latency_ms_p50", limit = 1000.0 }},
]
train = {{ batch_size = 4 }}
trial = {{ score_tokens = 2048, latency_tokens = 4 }}

[search.space]
base = {{ d_model = 32, n_layers = 2, context_len = 64 }}
choices = {{ d_model = [16, 32, 64], n_layers = [1, 2, 3], storage = ["float16", "int8", "int4"] }}

[train]
steps = 200
save_every = 20

[evaluate]
tokens = 4096
prompts = 4
prompt_tokens = 16
completion_tokens = 16
latency_tokens = 4
"""


@dataclass(slots=True)
class Demo:
    """One `codenas demo` over `folder`; everything it does is seen from its files and its process tree."""

    folder: Path
    process: psutil.Popen
    tree: dict[int, psutil.Process]

    @classmethod
    def start(cls, folder: Path, job: Path) -> "Demo":
        """Start the demo in `folder`; its output goes to `folder`.log."""
        with Path(f"{folder}.log").open("ab") as log:
            process = psutil.Popen(
                [sys.executable, "-m", "codenas", "demo", "--run", folder, "--job", job, "--cpus", "2", "--port", str(free_port())],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        return cls(folder, process, {})

    def until(self, happened: Callable[["Demo"], bool]) -> None:
        """Wait until `happened`; fails when the demo ends before."""
        end = time.monotonic() + DEADLINE_SECONDS
        while not happened(self):
            assert self.process.poll() is None, f"the demo ended with {self.process.returncode} too early:\n{self.log()}"
            assert time.monotonic() < end, f"nothing happened in {DEADLINE_SECONDS} s:\n{self.log()}"
            self.look()
            time.sleep(0.02)  # files and processes of others give no event to wait on

    def look(self) -> None:
        """Remember every process of the tree, also those that are orphaned later."""
        for process in tree(self.process):
            self.tree.setdefault(process.pid, process)

    def finish(self) -> None:
        """Wait for the end, which must be a good one."""
        self.until_ended()
        assert self.process.returncode == 0, self.log()

    def until_ended(self) -> None:
        """Wait until the demo and all that it started are gone."""
        end = time.monotonic() + DEADLINE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < end, f"no end in {DEADLINE_SECONDS} s:\n{self.log()}"
            self.look()
            time.sleep(0.1)
        _, left = psutil.wait_procs(list(self.tree.values()), timeout=30)
        assert not left, f"left over: {[process.name() for process in left]}\n{self.log()}"

    def end(self, number: signal.Signals) -> None:
        """Send `number` to the driver and see that nothing is left over."""
        self.look()
        self.process.send_signal(number)
        self.until_ended()

    def log(self) -> str:
        """All that the demos of this folder have printed."""
        return Path(f"{self.folder}.log").read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """What the history of the search holds."""
        path = self.folder / "search" / "trials.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}") and _is_json(line)]

    def reports(self, rung: int) -> int:
        """Trials that have reported at `rung`."""
        return sum(event["event"] == "report" and event["rung"] == rung for event in self.events())

    def trial_processes(self) -> list[psutil.Process]:
        """The processes that train candidates now."""
        return [process for process in tree(self.process) if "Trainable" in title(process)]

    def listeners(self) -> set[str]:
        """The addresses that the tree listens on."""
        found = set()
        for process in tree(self.process):
            try:
                found |= {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
            except psutil.Error:
                continue
        return found


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
