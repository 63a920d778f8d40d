"""The conclusion of a search: the fittest inside the limits wins; the folder holds one search."""

import json
from pathlib import Path

import pytest

from codenas.arch import Design
from codenas.errors import NoWinnerError, RunError
from codenas.metrics import Metrics
from codenas.search.candidate import Budget, Candidate, Failure, Report
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.plan import Plan
from codenas.search.result import Claim, Effort, SearchFolder, conclude
from tests.fakes import tiny_arch
from tests.search.synthetic import make_plan

EFFORT = Effort(workers=2, wall_seconds=10.0, steps=30, step_seconds=16.0)
SCORES = {0: (2.6, 2.2), 1: (2.5, 2.0), 2: (2.4, 2.1)}


def _plan(objectives: tuple[Objective, ...]) -> Plan:
    return make_plan(Budget(candidates=3, rungs=(5, 10), promote=(3,)), "random", objectives=objectives)


def _history(scores: dict[int, tuple[float, float]]) -> History:
    history = History()
    for index, (low, high) in scores.items():
        history.propose(Candidate(index=index, design=Design(arch=tiny_arch(d_model=16 * (index + 1))), origin="random", seed=0))
        for rung, score in ((5, low), (10, high)):
            metrics = Metrics(bits_per_byte=score, size_bytes=1_000 * (index + 1))
            history.add_outcome(Report(index=index, rung=rung, steps=5, metrics=metrics, seconds=1.0, checkpoint="x"))
    return history


def test_the_fittest_wins_and_the_steps_are_exact() -> None:
    result = conclude(_plan((Objective(metric="bits_per_byte", weight=1),)), _history(SCORES), EFFORT)
    assert (result.winner, result.steps, result.trained, result.session_steps) == (1, 30, 3, 30)
    assert result.training_share == pytest.approx(0.8)
    assert result.fidelity[0].trials == 3


def test_weights_decide() -> None:
    objectives = (Objective(metric="bits_per_byte", weight=0.2), Objective(metric="size_bytes", weight=0.8))
    assert conclude(_plan(objectives), _history(SCORES), EFFORT).winner == 0


def test_the_winner_is_inside_the_limits_on_what_training_decides() -> None:
    objectives = (Objective(metric="bits_per_byte", limit=2.15), Objective(metric="size_bytes", weight=1))
    assert conclude(_plan(objectives), _history(SCORES), EFFORT).winner == 1
    strict = (Objective(metric="bits_per_byte", weight=1, limit=1.5),)
    with pytest.raises(NoWinnerError, match="of the best, c001, bits_per_byte 2 is outside its limit, at most 1.5"):
        conclude(_plan(strict), _history(SCORES), EFFORT)


def test_a_search_in_which_all_failed_names_the_last_failure() -> None:
    history = History()
    history.propose(Candidate(index=0, design=Design(arch=tiny_arch()), origin="random", seed=0))
    history.add_outcome(Failure(index=0, rung=5, reason="diverged"))
    with pytest.raises(NoWinnerError, match="no candidate reached 10 steps; the last failure: diverged"):
        conclude(_plan((Objective(metric="bits_per_byte", weight=1),)), history, EFFORT)


def test_the_settings_that_differ_are_named(tmp_path: Path) -> None:
    asked = {"seed": 0, "budget": {"rungs": [1, 2]}, "objectives": [{"metric": "size_bytes", "limit": 1e6, "weight": 0.0}]}
    other = {**asked, "seed": 1, "objectives": [{"metric": "size_bytes", "limit": 2e6, "weight": 0.0}]}
    folder = SearchFolder(tmp_path)
    folder.claim(json.dumps(asked), "corpus")
    _train_one(folder)
    with pytest.raises(
        RunError, match=r"it was asked with seed 0 instead of 1, objectives.size_bytes.limit 1000000.0 instead of 2000000.0$"
    ):
        folder.require_own(json.dumps(other), "corpus")
    with pytest.raises(RunError, match="it was asked with another corpus$"):
        folder.require_own(json.dumps(asked), "other")
    many = {f"key{number}": number for number in range(6)}
    assert Claim(job=json.dumps(asked), corpus="corpus").differences(json.dumps({**asked, **many}), "corpus")[-1] == "2 more"


def _train_one(folder: SearchFolder) -> None:
    history = folder.history()
    history.propose(Candidate(index=0, design=Design(arch=tiny_arch()), origin="random", seed=0))
    history.add_outcome(Report(index=0, rung=5, steps=5, metrics=Metrics(bits_per_byte=2.0), seconds=1.0, checkpoint="c000/5"))


def test_a_search_of_which_nothing_was_trained_gives_way_to_another(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    folder.claim("job", "corpus")
    folder.history().propose(Candidate(index=0, design=Design(arch=tiny_arch()), origin="random", seed=0))
    folder.finish_without_winner("all candidates were refused")
    folder.claim("another job", "corpus")
    assert folder.claimed() == Claim(job="another job", corpus="corpus")
    assert not folder.history().trials and folder.no_winner() is None
    (tmp_path / "checkpoints" / "c000" / "5").mkdir(parents=True)
    with pytest.raises(RunError, match="another job or another corpus"):
        folder.claim("job", "corpus")


@pytest.mark.parametrize("other", ["rows.jsonl", "notes"])
def test_a_folder_that_holds_anything_else_does_not_give_way(other: str, tmp_path: Path) -> None:
    SearchFolder(tmp_path).claim("job", "corpus")
    (tmp_path / other).touch()
    with pytest.raises(RunError, match="another job or another corpus"):
        SearchFolder(tmp_path).claim("another job", "corpus")


def test_a_folder_is_claimed_once_and_a_broken_result_is_named(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    assert folder.claimed() is None
    folder.claim("job", "corpus")
    folder.claim("job", "corpus")
    assert folder.claimed() == Claim(job="job", corpus="corpus")
    _train_one(folder)
    with pytest.raises(RunError, match="another job or another corpus"):
        folder.claim("job", "another corpus")
    assert folder.result() is None
    result = conclude(_plan((Objective(metric="bits_per_byte", weight=1),)), _history(SCORES), EFFORT)
    folder.finish(result)
    assert folder.result() == result
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(RunError, match="result.json cannot be read"):
        folder.result()
