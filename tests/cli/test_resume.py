"""`codenas search --resume RUN`: the search in a run goes on with the job and the corpus that the run recorded."""

import json
import shutil
from pathlib import Path

import pytest

from codenas.search.result import Claim
from tests.cli.commands import codenas, shown
from tests.fakes import SMALL_SEARCH, tiny_corpus


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose search is finished; its corpus lies elsewhere."""
    folder = tmp_path_factory.mktemp("resume")
    tiny_corpus(folder / "corpus")
    (folder / "job.toml").write_text(SMALL_SEARCH)
    shown("search", "--no-ray", "--run", folder / "run", "--corpus", folder / "corpus", "--job", folder / "job.toml", "--max-mb", "5")
    return folder / "run"


@pytest.fixture
def interrupted(finished: Path, tmp_path: Path) -> Path:
    """The run as it was when its last event had not been written yet."""
    run = tmp_path / "interrupted"
    shutil.copytree(finished, run)
    lines = (run / "search" / "trials.jsonl").read_text().splitlines(keepends=True)
    (run / "search" / "trials.jsonl").write_text("".join(lines[:-1]))
    (run / "search" / "result.json").unlink()
    return run


def complaint(*arguments: str | Path) -> str:
    done = codenas(*arguments)
    assert (done.exit_code, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.output
    return done.stderr


def test_a_search_continues_from_the_name_of_its_run_alone(finished: Path, interrupted: Path) -> None:
    assert "3 candidates trained" in shown("search", "--no-ray", "--resume", interrupted)
    for name in ("trials.jsonl", "job.json"):  # the stored rung is told again, not trained again
        assert (interrupted / "search" / name).read_bytes() == (finished / "search" / name).read_bytes()
    before, after = (json.loads((run / "search" / "result.json").read_text()) for run in (finished, interrupted))
    assert [after[key] for key in ("winner", "finalists", "steps")] == [before[key] for key in ("winner", "finalists", "steps")]
    assert after["session_steps"] == 0
    assert "3 candidates trained" in shown("search", "--resume", finished)


def test_a_search_of_a_version_that_knew_fewer_keys_continues(interrupted: Path) -> None:
    path = interrupted / "search" / "job.json"
    claim = Claim.model_validate_json(path.read_bytes())
    job = json.loads(claim.job)
    del job["trial"]["patience"]
    path.write_text(claim.model_copy(update={"job": json.dumps(job)}).model_dump_json(indent=2))
    before = path.read_bytes()
    assert "3 candidates trained" in shown("search", "--no-ray", "--resume", interrupted)
    assert path.read_bytes() == before


@pytest.mark.parametrize("given", [["--job", "x.toml"], ["--corpus", "c"], ["--run", "r"], ["--max-mb", "3"], ["--max-ms", "3"]])
def test_options_recorded_in_the_run_are_refused_on_resume(given: list[str], tmp_path: Path) -> None:
    message = f"--resume uses what its run recorded: leave {given[0]} out, or start a new search with another --run"
    assert message in complaint("search", "--resume", tmp_path / "run", *given)


def test_a_run_without_a_search_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert f"{run / 'search'} holds no search; run `codenas search` first" in complaint("search", "--resume", run)
    assert not run.exists()


def test_a_job_or_a_corpus_that_is_another_one_by_now_is_refused(interrupted: Path, tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "other", seed=1)
    (interrupted / "corpus").write_text(f"{tmp_path / 'other'}\n")
    assert "holds a search with another job or another corpus" in complaint("search", "--no-ray", "--resume", interrupted)
    (interrupted / "corpus").write_text(f"{tmp_path / 'gone'}\n")
    assert f"{tmp_path / 'gone'}" in complaint("search", "--no-ray", "--resume", interrupted)
    path = interrupted / "search" / "job.json"
    path.write_text(path.read_text().replace("lookback", "lookforward"))
    assert "cannot be read" in complaint("search", "--no-ray", "--resume", interrupted)
