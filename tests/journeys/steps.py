"""The commands of a journey, shortened by `--set` as a user would: a few candidates of a few steps."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.commands import shown
from tests.loopback import free_port

BUDGET = "search.budget={ candidates = 3, rungs = [1, 2], promote = [1] }"
SHORT_SEARCH = (BUDGET, "search.train.batch_size=1", "search.trial={ score_tokens = 512, latency_tokens = 4 }")
SHORT_TRAINING = ("train.threads=1",)  # two threads wait for each other where anything else runs
SHORT_EVALUATION = ("evaluate={ tokens = 512, prompts = 2, prompt_tokens = 8, completion_tokens = 8, latency_tokens = 4 }",)


def overridden(overrides: Sequence[str]) -> list[str]:
    """The options that override keys of the job."""
    return [word for override in overrides for word in ("--set", override)]


def search(run: Path, corpus: Path, *more: str | Path, overrides: Sequence[str] = ()) -> str:
    """Search from a corpus to a winner; what the command prints."""
    output = shown("search", "--run", run, "--corpus", corpus, *more, *overridden((*SHORT_SEARCH, *overrides)))
    assert " won" in output and "★" in output, output
    return output


def look(run: Path) -> None:
    """Look at a finished search in every way: status, report, study, event files."""
    assert "finished" in shown("status", run)
    shown("report", run)
    assert (run / "report.html").stat().st_size > 1_000
    shown("search", "study", "--run", run, "--output", run / "study.db")
    shown("search", "tensorboard", "--run", run, "--output", run / "events")


def finish(run: Path, *job: str | Path, evaluation: Sequence[str] = SHORT_EVALUATION) -> str:
    """Train the winner and evaluate it; what `codenas status` then shows."""
    assert "3 steps" in shown("train", "--run", run, "--steps", "3", *job, *overridden(SHORT_TRAINING))
    assert "bits per byte" in shown("evaluate", "--run", run, *job, *overridden(evaluation))
    shown("arch", "show", run / "model")
    return shown("status", run)


def served_completion(run: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `codenas complete` prints while `codenas serve` waits: a real endpoint of Ray Serve on a port of this machine."""
    from serve.launch import stop

    port, answers = free_port(), list[str]()

    def ask() -> None:
        answers.append(
            shown("complete", "--url", f"http://127.0.0.1:{port}", "--max-tokens", "8", "--temperature", "1", "--seed", "0", "def f(")
        )

    with monkeypatch.context() as patched, contextlib.ExitStack() as undone:
        undone.callback(stop)  # the command leaves that to the end of its Ray, and here others use it
        patched.setattr("codenas.cli.serve._wait", ask)
        shown("serve", "--run", run, "--port", str(port))
    (answer,) = answers
    return answer
