"""Runs of earlier versions: what has a default since is not in their files, and they are shown and go on as they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from codenas.corpus import Corpus
from codenas.errors import RunError
from codenas.experiment.jobs import migrated_job
from codenas.experiment.local import search_locally
from codenas.experiment.session import recorded_job
from codenas.search.result import SearchFolder
from tests.experiment.test_session import JOB
from tests.fakes import tiny_corpus

NEW_SINCE: dict[str, frozenset[str]] = {
    "job.json": frozenset({"target", "repeats", "repeated", "warm_start", "fim_rate", "fim_spm_share"}),
    "trials.jsonl": frozenset({"repeat"}),
    "result.json": frozenset({"repeats", "failed_repeats", "repeated", "ties"}),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def earlier(corpus: Corpus, tmp_path: Path) -> SearchFolder:
    """A finished search as the version before wrote it."""
    search_locally(JOB, corpus, tmp_path / "search")
    for name, fields in NEW_SINCE.items():
        _rewrite(tmp_path / "search" / name, fields)
    return SearchFolder(tmp_path / "search")


def _rewrite(path: Path, without: frozenset[str]) -> None:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    path.write_text("".join(f"{json.dumps(_without(json.loads(line), without))}\n" for line in lines))


def _without(value: Any, fields: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_without(each, fields) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _without(each, fields) for name, each in value.items() if name not in fields}
    return {**kept, "job": json.dumps(_without(json.loads(kept["job"]), fields))} if isinstance(kept.get("job"), str) else kept


def test_a_finished_search_is_read(earlier: SearchFolder, corpus: Corpus) -> None:
    assert not any(f'"{field}' in earlier.path.joinpath(name).read_text() for name, fields in NEW_SINCE.items() for field in fields)
    result, _ = search_locally(JOB, corpus, earlier.path)
    assert result == earlier.result()
    assert (result.steps, result.trained) == (3, 2)


def test_an_unfinished_search_continues(earlier: SearchFolder, corpus: Corpus) -> None:
    expected = earlier.result()
    (earlier.path / "result.json").unlink()
    trials = earlier.path / "trials.jsonl"
    trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:-1]))
    result, _ = search_locally(JOB, corpus, earlier.path)
    assert expected is not None and (result.winner, result.steps) == (expected.winner, expected.steps)


def test_what_the_earlier_version_was_asked_otherwise_is_another_search(earlier: SearchFolder, corpus: Corpus) -> None:
    with pytest.raises(RunError, match="holds a search with another job"):
        search_locally(JOB.model_copy(update={"seed": 1}), corpus, earlier.path)


def test_a_search_asked_under_other_defaults_opens_with_its_own_job(corpus: Corpus, tmp_path: Path) -> None:
    """Rungs were scored on the moving average by default; a stored job says so, a job file that is silent now asks for a branch."""
    asked = JOB.model_copy(update={"trial": JOB.trial.model_copy(update={"score_decay": 0.0})})
    search_locally(asked, corpus, tmp_path / "search")
    home = SearchFolder(tmp_path / "search")
    with pytest.raises(RunError, match=f"another job .*; to go on with it as it was asked: codenas search --resume {tmp_path}"):
        search_locally(JOB, corpus, home.path)
    result, history = search_locally(recorded_job(home), corpus, home.path)
    assert result == home.result()
    assert not any(report.scoring_steps for trial in history.trials for report in trial.reports)


def test_a_job_is_brought_up_to_this_version_unless_it_cannot_be_read(earlier: SearchFolder) -> None:
    """So `codenas compare` takes searches of two versions that were asked the same as repetitions."""
    claim = earlier.claimed()
    assert claim is not None and claim.job != JOB.model_dump_json() == migrated_job(claim.job)
    for unknown in ('{"strategy": "of tomorrow"}', '{"no such key": 1}', "nothing"):
        assert migrated_job(unknown) == unknown
