"""Rank correlation against values worked out by hand."""

import pytest

from codenas.arch import Design
from codenas.metrics import Metrics
from codenas.search.candidate import Candidate, Failure, Report, Trial
from codenas.search.fidelity import fidelity, interval, spearman
from tests.fakes import tiny_arch


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50], 1.0),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1.0),
        ([1, 2, 3], [1, 8, 1_000_000], 1.0),  # ranks, not values
        ([106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17], -29 / 165),
        ([1, 2, 2, 3], [1, 2, 3, 4], 3 / 10**0.5),  # ranks 1, 2.5, 2.5, 4: covariance 4.5, spreads 4.5 and 5
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
        ([2, 2, 1, 1], [2, 2, 1, 1], 1.0),
    ],
)
def test_known_values(a: list[float], b: list[float], expected: float) -> None:
    assert spearman(a, b) == pytest.approx(expected)
    assert spearman(b, a) == pytest.approx(expected)


def test_a_constant_side_has_no_rank() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([], []) is None


def trial(index: int, *bits: float | None) -> Trial:
    new = Trial(candidate=Candidate(index=index, design=Design(arch=tiny_arch()), origin="random", seed=0))
    for rung, value in zip((50, 300), bits, strict=False):
        new = new.after(Report(index=index, rung=rung, steps=1, metrics=Metrics(bits_per_byte=value), seconds=0, checkpoint=""))
    return new


def test_only_trials_with_both_scores_count() -> None:
    failed = trial(9, 4.0).after(Failure(index=9, rung=300, reason="diverged"))
    trials = [trial(0, 3.0, 2.0), trial(1, 3.5, 2.5), trial(2, 3.2, 2.6), trial(3, 9.0), trial(4), trial(5, None, 1.0), failed]
    found = fidelity(trials, 50, 300)
    assert (found.low, found.high, found.trials) == (50, 300, 3)
    assert found.spearman == pytest.approx(0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_say_nothing(count: int) -> None:
    assert fidelity([trial(index, 3.0 - index, 2.0 - index) for index in range(count)], 50, 300).spearman is None


def test_the_interval_is_fishers_with_the_error_of_fieller() -> None:
    assert interval(0.5, 10) == pytest.approx((-0.2102, 0.8647), abs=1e-3)
    low, high = interval(0.8, 4) or (0.0, 0.0)
    assert low < -0.7 and high > 0.99, "four candidates say next to nothing"


@pytest.mark.parametrize(("rho", "trials"), [(None, 10), (0.5, 3), (1.0, 10), (-1.0, 10)])
def test_where_the_interval_is_not_known_there_is_none(rho: float | None, trials: int) -> None:
    assert interval(rho, trials) is None
