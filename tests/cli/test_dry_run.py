"""`codenas search --dry-run` for every job file and device; nothing is run or written."""

from pathlib import Path

import pytest

from tests.cli.commands import codenas
from tests.fakes import SMALL_SEARCH, tiny_corpus

JOBS = sorted(path for path in (Path(__file__).parents[2] / "tune_jobs" / "jobs").glob("*.toml") if "[search]" in path.read_text())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.stem))
def test_every_job_is_estimated_for_two_unlike_gpus(job: Path, tmp_path: Path) -> None:
    result = codenas("search", "--dry-run", "--job", str(job), "--run", str(tmp_path / "run"), "--gpus", "RTX 5090, RTX 4090")
    assert result.exit_code == 0, result.output
    lines = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert {"rung 50", "rung 300", "final training", "memory of a trial", "disk", "time of the search"} <= lines.keys()
    assert "RTX 4090: 41.3 TFLOP/s (assumed: 25 % of 165 TFLOP/s" in lines["device 2"]
    assert not (tmp_path / "run").exists()


def test_on_a_cpu_the_speed_is_measured(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(SMALL_SEARCH)
    corpus = tiny_corpus(tmp_path / "corpus").path
    run = tmp_path / "run"
    result = codenas("search", "--dry-run", "--job", str(tmp_path / "job.toml"), "--corpus", str(corpus), "--cpus", "2", "--run", str(run))
    assert result.exit_code == 0, result.output
    assert "device 2" in result.stdout and "measured on this machine" in result.stdout
    assert not run.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpus", "RTX 5090"), "--gpus RTX 5090 is for --dry-run"),
        (("--dry-run", "--gpus", "RTX 5"), "the peak of a GPU called 'RTX 5' is not known; known are A10, "),
        (("--dry-run", "--resume", "mine"), "leave --dry-run out"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = codenas("search", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
