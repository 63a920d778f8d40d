"""`codenas status` and `codenas compare` on real runs: only files are read, and what cannot be read is one line."""

import os
import shutil
from pathlib import Path

import pytest

from codenas.cli.status import headline
from codenas.experiment.run import Run
from codenas.experiment.status import read_status
from codenas.files import folder_lock
from codenas.log import LOGGER
from tests.cli.commands import codenas, shown
from tests.fakes import SMALL_SEARCH, tiny_corpus


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished searches: `first` and `again` differ in their seed, `other` in more."""
    folder = tmp_path_factory.mktemp("runs")
    corpus = tiny_corpus(folder / "corpus").path
    jobs = {
        "first": SMALL_SEARCH,
        "again": SMALL_SEARCH.replace("[search]", "[search]\nseed = 1"),
        "other": SMALL_SEARCH.replace("[2, 4]", "[2, 6]"),
    }
    for name, job in jobs.items():
        (folder / f"{name}.toml").write_text(job)
        shown("search", "--no-ray", "--run", folder / name, "--corpus", corpus, "--job", folder / f"{name}.toml")
    LOGGER.handlers.clear()  # they write to the standard error of the first test
    LOGGER.propagate = True
    return folder


@pytest.fixture
def begun(runs: Path, tmp_path: Path) -> Path:
    """A run that was interrupted after two reports."""
    shutil.copytree(runs / "first", tmp_path / "run", symlinks=True)
    history = tmp_path / "run" / "search" / "trials.jsonl"
    events = history.read_bytes().splitlines(keepends=True)
    reports = [number for number, event in enumerate(events) if b'"event":"report"' in event]
    history.write_bytes(b"".join(events[: reports[1] + 1]) + events[reports[1] + 1][:20])  # the next event is being written
    (tmp_path / "run" / "search" / "result.json").unlink()
    return tmp_path / "run"


def test_a_finished_run_is_shown_with_its_front_and_its_winner(runs: Path) -> None:
    output = shown("status", runs / "first")
    assert f"{runs / 'first'}: search 8/8 steps (100 %), best " in output and ", finished\n" in output
    assert "Pareto front after 4 steps" in output and "★" in output and "not trained" in output


def test_an_interrupted_run_says_how_to_continue(begun: Path) -> None:
    output = shown("status", begun)
    assert "search 4/8 steps (50 %)" in output and "Pareto front after 2 steps" in output and "ETA" not in output
    assert "at work     no process of this machine\n" in output
    assert f"to resume   codenas search --resume {begun}" in output


def test_during_a_search_status_shows_its_process_and_the_eta(begun: Path) -> None:
    with folder_lock(begun):
        os.utime(begun / "search" / "job.json", (1, 1))
        os.utime(begun / ".lock")
        began = (begun / ".lock").stat().st_mtime
        for number, stored in enumerate(sorted(begun.glob("search/checkpoints/*/2/manifest.json"))):
            os.utime(stored, (began + 10 * (number + 1),) * 2)
        seen = read_status(Run(begun))
        assert seen.holder == os.getpid()
        assert seen.pace is not None and seen.pace.steps == 4 and seen.pace.seconds == pytest.approx(20)
        assert f"process {os.getpid()}" in shown("status", begun) and "ETA" in headline(seen)


def test_the_lock_of_a_dead_process_is_ignored(begun: Path) -> None:
    for left in ("", "4194304", str(os.getpid())):  # of the last it is the number that another one has got
        (begun / ".lock").write_text(left)
        assert read_status(Run(begun)).holder is None


def test_following_ends_with_the_search(begun: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(*_: object) -> bool:
        for name in ("trials.jsonl", "result.json"):
            shutil.copy(runs / "first" / "search" / name, begun / "search" / name)
        return True

    monkeypatch.setattr("threading.Event.wait", finish)
    output = shown("status", begun, "--follow")
    assert f"{begun}: search 4/8 steps (50 %)" in output and f"{begun}: search 8/8 steps (100 %)" in output
    assert output.count("Pareto front after") == 1  # a file is not filled with tables


def test_a_run_before_its_search(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert f"{tmp_path}: search not started" in shown("status", tmp_path)


def test_repeated_searches_are_compared_with_the_deviation_of_their_seeds(runs: Path, tmp_path: Path) -> None:
    output = shown("compare", runs / "first", runs / "again", runs / "other", "--picture", tmp_path / "fronts.png")
    assert "first + again" in output and "least significant difference" in output and (tmp_path / "fronts.png").is_file()
    assert "significance not assessed" in shown("compare", runs / "first", runs / "other")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "RUNS/absent"], "there is no run RUNS/absent; name the folder that was given to --run"),
        (["status", "RUNS/corpus"], "RUNS/corpus is not a run: no stage was started in it"),
        (["compare", "RUNS/first"], "RUNS/first alone cannot be compared; name two or more runs"),
        (["compare", "RUNS/first", "RUNS/first"], "alone cannot be compared"),
        (["compare", "RUNS/first", "RUNS/absent"], "there is no run RUNS/absent"),
    ],
)
def test_what_is_no_run_is_one_line(arguments: list[str], message: str, runs: Path) -> None:
    done = codenas(*(argument.replace("RUNS", str(runs)) for argument in arguments))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert message.replace("RUNS", str(runs)) in done.stderr


def test_what_is_unfinished_or_damaged_is_one_line(begun: Path, runs: Path) -> None:
    def complaint(*arguments: str | Path) -> str:
        done = codenas(*arguments)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        return done.stderr

    assert f"the search of {begun} is not finished" in complaint("compare", runs / "first", begun)
    job = begun / "search" / "job.json"
    job.write_text('{"job": "{\\"strategy\\": 1}", "corpus": "x"}')
    assert "the job of a search cannot be read (strategy: " in complaint("status", begun)
    job.write_text("{}")
    assert f"{job} cannot be read" in complaint("status", begun)
