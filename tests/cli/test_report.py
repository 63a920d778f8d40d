"""`codenas report` on real runs, finished and not."""

import json
import shutil
from pathlib import Path

import pytest

from codenas.cli.job_file import load_job
from codenas.experiment.jobs import SearchJob
from codenas.log import LOGGER
from codenas.search.result import SearchFolder
from tests.cli.commands import codenas, shown
from tests.fakes import SMALL_SEARCH, null_device, tiny_corpus


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "job.toml").write_text(SMALL_SEARCH)
    corpus = tiny_corpus(folder / "corpus").path
    output = shown("search", "--no-ray", "--run", folder / "run", "--corpus", corpus, "--job", folder / "job.toml")
    assert f"report: {folder / 'run' / 'report.html'}\n" in output
    LOGGER.handlers.clear()  # they write to the standard error of the first test
    LOGGER.propagate = True
    return folder / "run"


def test_a_search_leaves_the_page_that_the_command_writes(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert shown("report", run, "--output", page) == f"report: {page}\n"
    assert page.read_bytes() == (run / "report.html").read_bytes()
    assert page.with_suffix(".json").read_bytes() == (run / "report.json").read_bytes()
    shown("report", run, "--output", page, "--json", tmp_path / "figures.json")
    assert (tmp_path / "figures.json").read_bytes() == (run / "report.json").read_bytes()


def test_a_folder_that_an_output_creates_is_reported(run: Path, tmp_path: Path) -> None:
    """It may be a typing error. What creates none says nothing."""
    outputs: dict[str, list[str | Path]] = {
        "report": ["report", run, "--output", tmp_path / "report" / "page.html"],
        "picture": ["arch", "show", "small:1", "--picture", tmp_path / "picture" / "a.png"],
        "corpus": ["corpus", "report", run.parent / "corpus", "--output", tmp_path / "corpus" / "page.html"],
    }
    for name, command in outputs.items():
        assert codenas(*command).stderr == f"new folder: {tmp_path / name}\n"
        assert codenas(*command).stderr == ""


def test_a_page_for_a_device_leaves_the_device_and_nothing_beside_it(run: Path, tmp_path: Path) -> None:
    shown("report", run, "--output", device := null_device(tmp_path / "null"))
    assert device.is_char_device() and list(tmp_path.iterdir()) == [device]


def test_curves_workers_and_the_winner_are_in_it(run: Path) -> None:
    figures = json.loads((run / "report.json").read_text())
    assert figures["finished"] and figures["best"]["vocab_size"] == 300
    curves = [rung["curve"] for each in figures["candidates"] for rung in each["rungs"]]
    assert len(curves) == 4 and all(curve["worker"] and curve["losses"] for curve in curves)
    page = (run / "report.html").read_text()
    assert "training loss (nats per token)" in page and "since the first job" in page and "decoding state at full context" in page


def test_the_job_file_of_the_page_asks_for_the_same_search(run: Path, tmp_path: Path) -> None:
    written = json.loads((run / "report.json").read_text())["job_file"]
    (tmp_path / "job.toml").write_text(written)
    assert load_job(tmp_path / "job.toml").search == SearchJob.model_validate_json(SearchFolder(run / "search").job())


def test_an_unfinished_search_and_one_without_its_corpus_are_reported(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "report.*", "result.json"))
    begun = tmp_path / "run"
    (begun / "corpus").unlink()
    history = begun / "search" / "trials.jsonl"
    history.write_bytes(b"".join(history.read_bytes().splitlines(keepends=True)[:2]) + b'{"event":"rep')
    shown("report", begun)
    page = (begun / "report.html").read_text()
    assert "unfinished" in page and "The corpus is not available" in page
    assert not json.loads((begun / "report.json").read_text())["finished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUNS/absent"], "there is no run RUNS/absent; name the folder that was given to --run"),
        (["RUNS/corpus"], "RUNS/corpus is not a run: no stage was started in it"),
        (["RUNS/run", "--output", "RUNS/x.json"], "RUNS/x.json cannot be both the page and its data; name another file with --json"),
    ],
)
def test_a_report_that_cannot_be_written_is_a_one_line_error(arguments: list[str], message: str, run: Path) -> None:
    done = codenas("report", *(argument.replace("RUNS", str(run.parent)) for argument in arguments))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert message.replace("RUNS", str(run.parent)) in done.stderr


def test_a_run_before_its_search_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    done = codenas("report", tmp_path)
    assert done.exit_code == 2 and f"{tmp_path}/search holds no search; run `codenas search` first" in done.stderr


def test_a_search_without_a_winner_leaves_a_page_that_says_why(tmp_path: Path) -> None:
    limit = '{ metric = "bits_per_byte", weight = 1.0, limit = 0.01 }'
    (tmp_path / "job.toml").write_text(SMALL_SEARCH.replace('{ metric = "bits_per_byte", weight = 1.0 }', limit))
    corpus, run = tiny_corpus(tmp_path / "corpus").path, tmp_path / "run"
    done = codenas("search", "--no-ray", "--run", run, "--corpus", corpus, "--job", tmp_path / "job.toml")
    assert done.exit_code == 2 and "no finalist is inside the limits" in done.stderr
    assert f"report: {run / 'report.html'}\n" in done.stdout
    assert len(json.loads((run / "report.json").read_text())["candidates"]) == 3
    status = shown("status", run)
    assert "winner      none: no finalist is inside the limits" in status and "--resume" not in status
    assert done.stderr.splitlines()[-1] == codenas("search", "--no-ray", "--resume", run).stderr.splitlines()[-1], "resumed, it ends alike"
    shown("status", run, "--follow")
