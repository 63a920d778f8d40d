"""How far a search is, read from synthetic histories."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from codenas.arch import Design
from codenas.metrics import Metrics
from codenas.report.status import highest_rung, progress_line, remaining_steps, rung_statuses, rungs_table
from codenas.search.candidate import Budget, Candidate, Failure, Refusal, Report
from codenas.search.config import SearchConfig
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.pace import Pace
from tests.fakes import tiny_arch

CONFIG = SearchConfig(budget=Budget(candidates=4, rungs=(5, 20), promote=(2,)), objectives=(Objective(metric="bits_per_byte", weight=1),))


def history(first: dict[int, float], second: dict[int, float] | None = None, proposed: int = 4, failed: int | None = None) -> History:
    """Candidates with these scores at the two rungs."""
    made = History()
    for index in range(proposed):
        made.propose(Candidate(index=index, design=Design(arch=tiny_arch(d_model=16 * (index + 1))), origin="random", seed=0))
    for rung, steps, scores in ((5, 5, first), (20, 15, second or {})):
        for index, score in scores.items():
            metrics = Metrics(bits_per_byte=score)
            made.add_outcome(Report(index=index, rung=rung, steps=steps, metrics=metrics, seconds=1.0, checkpoint="x"))
    if failed is not None:
        made.add_outcome(Failure(index=failed, rung=5, reason="diverged"))
    return made


def test_those_that_were_proposed_and_have_not_reported_are_now_or_next() -> None:
    first, second = rung_statuses(history({0: 3.0, 1: 2.5}, proposed=3).trials, CONFIG)
    assert (first.planned, first.reported, first.failed, first.best, first.pending) == (4, 2, 0, (2.5, "c001"), ("c002",))
    assert (second.planned, second.reported, second.best, second.pending) == (2, 0, None, ())


def test_promotion_is_told_once_the_whole_rung_is_settled() -> None:
    scores = {0: 3.0, 1: 2.5, 2: 2.8}
    assert rung_statuses(history(scores).trials, CONFIG)[1].pending == ()
    assert rung_statuses(history(scores, failed=3).trials, CONFIG)[1].pending == ("c001", "c002")
    assert rung_statuses(history({**scores, 3: 9.0}, {1: 2.0}).trials, CONFIG)[1].pending == ("c002",)


def test_refused_candidates_take_no_place() -> None:
    made = history({1: 2.5, 2: 2.8, 3: 2.9, 4: 2.6}, proposed=5)
    made.add_outcome(Refusal(index=0, reason="too large", metrics=Metrics()))
    assert [rung.pending for rung in rung_statuses(made.trials, CONFIG)] == [(), ("c001", "c004")]
    assert "1 refused" in progress_line(made.trials, CONFIG, False, None)


@pytest.mark.parametrize(
    ("made", "left"),
    [
        (history({}, proposed=0), 4 * 5 + 2 * 15),
        (history({0: 3.0, 1: 2.5}), 2 * 5 + 2 * 15),
        (history({0: 3.0, 1: 2.5, 2: 2.6}, failed=3), 2 * 15),
        (history({0: 3.0, 1: 2.5, 2: 2.6, 3: 2.7}, {1: 2.0}), 15),
        (history({0: 3.0, 1: 2.5, 2: 2.6, 3: 2.7}, {1: 2.0, 2: 2.1}), 0),
    ],
)
def test_the_remaining_steps_are_those_of_the_budget_without_what_failed(made: History, left: int) -> None:
    assert remaining_steps(made.trials, CONFIG.budget) == left


def test_the_line_has_steps_best_and_eta() -> None:
    made = history({0: 3.0, 1: 2.5})
    assert progress_line(made.trials, CONFIG, False, None) == "10/50 steps (20 %), best 2.500 bits per byte (c001)"
    assert progress_line(made.trials, CONFIG, False, Pace(10, 20.0, 5.0)).endswith(", ETA 1m15s")
    assert progress_line((), CONFIG, False, Pace(0, 0.0, 0.0)) == "0/50 steps (0 %)"


def test_a_finished_search_has_nothing_left_whoever_was_missing() -> None:
    made = history({0: 3.0, 1: 2.5}, {1: 2.0}, proposed=2)
    assert progress_line(made.trials, CONFIG, True, None) == "25/25 steps (100 %), best 2.000 bits per byte (c001), finished"


def test_adaptive_promotion_is_told_as_a_bound_until_it_is_decided() -> None:
    config = CONFIG.model_copy(update={"budget": Budget(candidates=4, rungs=(5, 20), promote=(4,), least=(1,))})
    begun = history({0: 3.0, 1: 2.5, 2: 2.6})
    assert progress_line(begun.trials, config, False, Pace(15, 20.0, 0.0)).startswith("15 of at most 80 steps, best 2.500")
    assert "ETA at most " in progress_line(begun.trials, config, False, Pace(15, 20.0, 0.0))
    assert [(rung.planned, rung.bound_only) for rung in rung_statuses(begun.trials, config)] == [(4, False), (4, True)]
    low = {0: 3.0, 1: 2.5, 2: 2.6, 3: 2.7}
    decided = next(
        made.trials for many in range(1, 5) if not rung_statuses((made := history(low, _best(many))).trials, config)[1].bound_only
    )
    wanted = rung_statuses(decided, config)[1].planned
    done = 4 * 5 + 15 * sum(len(trial.reports) > 1 for trial in decided)
    assert progress_line(decided, config, False, None).startswith(f"{done}/{4 * 5 + 15 * wanted} steps (")


def _best(many: int) -> dict[int, float]:
    """What the first `many` of 1, 2, 3, 0 (best first at the low rung) report at the high one."""
    return dict(list({1: 2.0, 2: 2.1, 3: 2.2, 0: 2.5}.items())[:many])


def test_the_highest_rung() -> None:
    assert highest_rung(()) is None
    assert highest_rung(history({0: 3.0}).trials) == 5
    assert highest_rung(history({0: 3.0, 1: 2.5, 2: 2.6, 3: 2.7}, {1: 2.0}).trials) == 20


def test_the_table_says_running_only_where_a_process_works() -> None:
    rungs = rung_statuses(history({}, proposed=4).trials, CONFIG)
    assert "running or queued" in _printed(rungs_table(rungs, True)) and "c000, c001, c002, c003" in _printed(rungs_table(rungs, True))
    assert "running" not in _printed(rungs_table(rungs, False))


def _printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_repeats_are_counted_and_still_to_do() -> None:
    config = CONFIG.model_copy(update={"budget": CONFIG.budget.model_copy(update={"repeats": 2})})
    made = history({0: 3.0, 1: 2.5, 2: 2.6, 3: 2.7}, {1: 2.0, 2: 2.1})
    assert remaining_steps(made.trials, config.budget) == 4 * 20
    made.add_outcome(Report(index=1, rung=20, steps=20, metrics=Metrics(bits_per_byte=2.2), seconds=1.0, checkpoint="x", repeat=1))
    made.add_outcome(Failure(index=2, rung=20, reason="diverged", repeat=1))
    assert remaining_steps(made.trials, config.budget) == 2 * 20
    line = progress_line(made.trials, config, False, None)
    assert line == "70/110 steps (64 %), best 2.000 bits per byte (c001), 2 repeats with other seeds"
