"""Who is repeated, who wins on the mean of the seeds, and who is called a tie."""

from collections.abc import Mapping, Sequence

import pytest

from codenas.arch import Design
from codenas.errors import NoWinnerError
from codenas.metrics import Metrics
from codenas.search.candidate import Budget, Candidate, Failure, Refusal, Report, Trial
from codenas.search.fitness import Objective
from codenas.search.repeats import finalists_to_repeat, select_winner
from tests.fakes import tiny_arch

QUALITY = (Objective(metric="bits_per_byte", weight=1.0),)
BUDGET = Budget(candidates=4, rungs=(10,), promote=(), repeats=2)


def finalists(scores: Mapping[int, Sequence[float]]) -> list[Trial]:
    """Trials with the bits per byte of each seed, their own first, in the order of promotion."""
    return [_trial(index, seeds) for index, seeds in scores.items()]


def _trial(index: int, seeds: Sequence[float]) -> Trial:
    trial = Trial(candidate=Candidate(index=index, design=Design(arch=tiny_arch()), origin="random", seed=0))
    for repeat, bits in enumerate(seeds):
        metrics = Metrics(bits_per_byte=bits, size_bytes=1_000 * (index + 1))
        trial = trial.after(Report(index=index, rung=10, steps=10, metrics=metrics, seconds=1.0, checkpoint="x", repeat=repeat))
    return trial


def ids(trials: Sequence[Trial]) -> list[int]:
    return [trial.candidate.index for trial in trials]


def test_the_fittest_inside_the_limits_are_repeated_by_their_first_seed_alone() -> None:
    trials = finalists({0: [2.3], 1: [2.0, 9.0, 9.0], 2: [2.2], 3: [2.1]})
    assert ids(finalists_to_repeat(trials, BUDGET, QUALITY)) == [1, 3, 2]
    assert ids(finalists_to_repeat(trials, BUDGET.model_copy(update={"repeated": 2}), QUALITY)) == [1, 3]
    limited = (*QUALITY, Objective(metric="size_bytes", limit=2_000))
    assert ids(finalists_to_repeat(trials, BUDGET, limited)) == [1, 0]
    failed = trials[1].candidate
    without = [Trial(candidate=failed, failure=Failure(index=1, rung=10, reason="diverged")), *trials[2:]]
    assert ids(finalists_to_repeat(without, BUDGET, QUALITY)) == [3, 2]


def test_a_clear_winner_has_no_ties() -> None:
    selection = select_winner(finalists({0: [2.50, 2.51, 2.49], 1: [2.00, 2.01, 1.99], 2: [2.30, 2.31, 2.29]}), BUDGET, QUALITY)
    assert selection.winner.candidate.index == 1 and selection.ties == ()
    assert ids(selection.repeated) == [1, 2, 0]


def test_what_the_seeds_do_not_tell_apart_is_a_tie_and_the_better_mean_wins() -> None:
    selection = select_winner(finalists({0: [2.00, 2.20, 2.19], 1: [2.05, 2.10, 2.12], 2: [3.0, 3.1, 3.05]}), BUDGET, QUALITY)
    assert selection.winner.candidate.index == 1, "the first seed alone would have chosen the other"
    assert ids(selection.ties) == [0] and ids(selection.repeated) == [1, 0, 2]


def test_the_bound_is_that_of_the_pooled_deviation() -> None:
    """Deviation 0.01, four degrees of freedom: 2.776 x 0.01 x sqrt(2 / 3) = 0.0227 apart is luck, and more is not."""
    for gap, ties in ((0.022, [1]), (0.023, [])):
        selection = select_winner(finalists({0: [1.99, 2.0, 2.01], 1: [1.99 + gap, 2.0 + gap, 2.01 + gap]}), BUDGET, QUALITY)
        assert selection.winner.candidate.index == 0 and ids(selection.ties) == ties


def test_equal_means_go_to_the_one_that_was_promoted_first() -> None:
    selection = select_winner(finalists({2: [2.0, 2.2], 1: [2.2, 2.0]}), BUDGET, QUALITY)
    assert selection.winner.candidate.index == 2 and ids(selection.ties) == [1]


def test_one_seed_each_says_nothing_of_ties() -> None:
    once = Budget(candidates=4, rungs=(10,), promote=())
    selection = select_winner(finalists({0: [2.0], 1: [2.0]}), once, QUALITY)
    assert (selection.winner.candidate.index, selection.repeated, selection.ties) == (0, (), ())
    every_repeat_failed = select_winner(finalists({0: [2.0], 1: [2.0]}), BUDGET, QUALITY)
    assert (every_repeat_failed.winner.candidate.index, every_repeat_failed.repeated, every_repeat_failed.ties) == (0, (), ())


def test_one_whose_repeats_failed_is_judged_by_the_deviation_of_the_others() -> None:
    selection = select_winner(finalists({0: [2.0, 2.1, 2.2], 1: [2.15]}), BUDGET, QUALITY)
    assert selection.winner.candidate.index == 0 and ids(selection.ties) == [1]


def test_who_was_not_repeated_does_not_win_by_a_lucky_seed() -> None:
    """The fourth has a better score than the means of the others have become, but one seed only."""
    selection = select_winner(finalists({0: [2.0, 2.5], 1: [2.0, 2.6], 2: [2.0, 2.7], 3: [2.01]}), BUDGET, QUALITY)
    assert selection.winner.candidate.index == 0 and 3 not in ids(selection.repeated)


def test_limits_hold_for_the_mean() -> None:
    limited = (Objective(metric="bits_per_byte", weight=1.0, limit=2.1),)
    assert select_winner(finalists({0: [2.0, 2.3], 1: [2.05, 2.06]}), BUDGET, limited).winner.candidate.index == 1
    with pytest.raises(NoWinnerError, match=r"of the best, c000, bits_per_byte 2.15 is outside its limit, at most 2.1; relax the limit"):
        select_winner(finalists({0: [2.0, 2.3], 1: [2.05, 2.36]}), BUDGET, limited)


def test_several_objectives_are_tested_as_one_fitness() -> None:
    """A difference in size has no deviation: it counts in full beside the noise of the scores."""
    both = (Objective(metric="bits_per_byte", weight=0.5), Objective(metric="size_bytes", weight=0.5))
    scores = {0: [2.00, 2.02, 2.01], 1: [2.01, 2.00, 2.02]}
    assert ids(select_winner(finalists(scores), BUDGET, QUALITY).ties) == [1]
    clear = select_winner(finalists({**scores, 2: [1.0, 1.01, 1.02]}), BUDGET, both)
    assert clear.winner.candidate.index == 0 and 1 not in ids(clear.ties)


def test_a_repeat_told_twice_counts_once_and_their_order_is_that_of_their_numbers() -> None:
    trial = _trial(0, [2.0])
    reports = [
        Report(index=0, rung=10, steps=10, metrics=Metrics(bits_per_byte=2.0 + n), seconds=1.0, checkpoint="x", repeat=n) for n in (2, 1, 2)
    ]
    for report in reports:
        trial = trial.after(report)
    trial = trial.after(Failure(index=0, rung=10, reason="diverged", repeat=3))
    assert [report.repeat for report in trial.repeats] == [1, 2] and trial.repeated(3) and not trial.repeated(4)
    assert not trial.stopped and [report.repeat for report in trial.trainings(10)] == [0, 1, 2]
    assert len(trial.reports) == 1 and trial.last == trial.reports[0]
    refused = trial.after(Refusal(index=0, reason="too large", metrics=Metrics()))
    assert refused.stopped
