"""A command that is killed in any stage is run again as it stands, and ends as if nothing had been."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from codenas.checkpoint import Checkpoint
from codenas.experiment.run import Run
from codenas.files import sha256_file
from tests.cli.commands import shown
from tests.fakes import tiny_corpus
from tests.journeys.steps import overridden
from tests.nodes import essence, finished_rungs

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120  # it bounds a hang, it measures nothing
SPACE = "search.space={ base = { d_model = 16, n_layers = 1, context_len = 32 }, choices = { d_model = [16, 32], n_layers = [1, 2] } }"
SEARCH = (
    SPACE,
    "search.budget={ candidates = 4, rungs = [10, 30], promote = [2] }",
    "search.objectives=[{ metric = 'bits_per_byte', weight = 1.0 }]",
    "search.trial={ score_tokens = 512, latency_tokens = 4 }",
)
EVALUATION = ("evaluate={ tokens = 512, prompts = 9, prompt_tokens = 8, completion_tokens = 64, latency_tokens = 4 }",)
TRAINING = ("train.steps=120", "train.save_every=20", "train.threads=1")


def killed(happened: Callable[[], bool], *arguments: str | Path) -> None:
    """Start a command as a process, and kill it as soon as something has `happened`."""
    command = [sys.executable, "-m", "codenas", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    end, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while process.poll() is None and not happened():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.01)  # files of others give no event to wait on
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output.decode()


@pytest.mark.timeout(400)
def test_search_training_and_evaluation_killed_end_as_undisturbed(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "corpus").path
    runs = {name: Run(tmp_path / name) for name in ("undisturbed", "killed")}
    stages = {name: _stages(run, corpus) for name, run in runs.items()}
    for stage in stages["undisturbed"]:
        shown(*stage)
    search, train, evaluate = stages["killed"]
    broken = runs["killed"]
    killed(lambda: finished_rungs(broken.folder).total() >= 2, *search)
    shown(*search)
    assert set(finished_rungs(broken.folder).values()) == {1}  # no rung was trained twice
    killed(lambda: (broken.folder / "last").exists(), *train)
    shown(*train)
    assert essence(broken.folder) == essence(runs["undisturbed"].folder)
    weights = [sha256_file(Checkpoint.open(run.model).path / "model.safetensors") for run in runs.values()]
    assert weights[0] == weights[1]
    killed(lambda: any(broken.evaluations.glob("*.json")), *evaluate)
    stored = {path.name: path.stat().st_ino for path in broken.evaluations.glob("*.json")}
    shown(*evaluate)
    assert stored.items() <= {path.name: path.stat().st_ino for path in broken.evaluations.glob("*.json")}.items()
    assert "finished" in shown("status", broken.folder)


def _stages(run: Run, corpus: Path) -> list[list[str | Path]]:
    return [
        ["search", "--no-ray", "--run", run.folder, "--corpus", corpus, *overridden(SEARCH)],
        ["train", "--run", run.folder, *overridden(TRAINING)],
        ["evaluate", "--run", run.folder, *overridden(EVALUATION)],
    ]
