"""The disk of a search: no more states of trainings than may be resumed."""

from pathlib import Path

import pytest

from codenas.checkpoint import TRAINING
from codenas.corpus import Corpus
from codenas.experiment.jobs import SearchJob
from codenas.experiment.local import search_locally
from codenas.experiment.training_states import TrainingStates
from codenas.search.candidate import Budget
from codenas.search.history import History
from codenas.search.result import SearchFolder
from codenas.search.resumable import resumable_rungs
from tests.experiment.test_session import JOB
from tests.fakes import tiny_corpus

SEARCH = JOB.model_copy(update={"budget": Budget(candidates=4, rungs=(1, 2, 3), promote=(2, 2), repeats=1, repeated=2)})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def states(folder: Path) -> set[str]:
    return {str(path.parent.relative_to(folder)) for path in folder.glob(f"*/*/{TRAINING}")}


def test_a_search_holds_the_states_that_may_be_resumed_and_no_other(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, held, remove = SearchFolder(tmp_path).checkpoints, list[int](), TrainingStates.remove_unneeded

    def watched(self: TrainingStates, history: History) -> None:
        remove(self, history)
        found = states(checkpoints)
        needed = resumable_rungs(history.trials, SEARCH.budget, SEARCH.objectives)
        assert found == {f"c{index:03d}/{rung}" for index, rung in needed}
        held.append(len(found))

    monkeypatch.setattr(TrainingStates, "remove_unneeded", watched)
    result, history = search_locally(SEARCH, corpus, tmp_path)
    assert max(held) == 2  # of four candidates, two of which are promoted twice, and of two repeats
    winner = history.trials[result.winner].last
    assert winner is not None
    assert states(checkpoints) == {winner.checkpoint}


def test_a_search_that_ray_stops_keeps_the_newest_state_of_every_candidate(corpus: Corpus, tmp_path: Path) -> None:
    job: SearchJob = SEARCH
    _, history = search_locally(job, corpus, tmp_path)
    checkpoints = SearchFolder(tmp_path).checkpoints
    reports = [report for trial in history.trials for report in trial.all_reports]
    for report in reports:
        (checkpoints / report.checkpoint / TRAINING).touch()
    plan = job.plan(corpus.manifest.vocab_size)
    TrainingStates(plan, checkpoints, stopped_by_ray=True).remove_unneeded(history)
    assert states(checkpoints) == {trial.last.checkpoint for trial in history.trials if trial.last is not None}
