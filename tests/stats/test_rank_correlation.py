"""Rank correlation against values worked out by hand."""

import math
import random

import pytest

from codenas.stats.rank_correlation import fisher_interval, spearman, spearman_given_size


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
    assert spearman(a, b).rho == pytest.approx(expected)
    assert spearman(b, a).rho == pytest.approx(expected)


def test_a_constant_side_has_no_rank() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]).rho is None
    assert spearman([], []).rho is None and spearman([1, 2], [1, 2]).rho is None


def test_the_interval_is_fishers_with_the_error_of_fieller() -> None:
    assert fisher_interval(0.5, 10) == pytest.approx((-0.2102, 0.8647), abs=1e-3)
    low, high = fisher_interval(0.8, 4) or (0.0, 0.0)
    assert low < -0.7 and high > 0.99, "four candidates say next to nothing"


@pytest.mark.parametrize(("rho", "trials"), [(None, 10), (0.5, 3), (1.0, 10), (-1.0, 10)])
def test_where_the_interval_is_not_known_there_is_none(rho: float | None, trials: int) -> None:
    assert fisher_interval(rho, trials) is None


def test_a_covariate_costs_a_degree_of_freedom() -> None:
    assert fisher_interval(0.5, 12, covariates=2) == fisher_interval(0.5, 10)


def test_what_the_size_explains_is_taken_out() -> None:
    """Two scores that share nothing but a quadratic in the logarithm of the size."""
    rng = random.Random(0)
    sizes = [rng.uniform(1e5, 1e7) for _ in range(400)]
    logs = [math.log(size) for size in sizes]
    a, b = ([30 - 2 * log + 0.05 * log**2 + rng.gauss(0, 0.05) for log in logs] for _ in range(2))
    plain, given_size = spearman(a, b), spearman_given_size(a, b, sizes)
    assert plain.rho is not None and plain.rho > 0.95
    assert given_size.rho is not None and abs(given_size.rho) < 0.15
    low, high = given_size.interval or (1.0, 0.0)
    assert low < 0 < high and given_size.pairs == 400


@pytest.mark.parametrize("sizes", [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 2.0, 2.0], [3.0] * 6])
def test_few_pairs_or_sizes_leave_nothing_to_correlate(sizes: list[float]) -> None:
    values = [float(number) for number in range(len(sizes))]
    assert spearman_given_size(values, values, sizes).rho is None


def test_the_interval_holds_the_correlation_that_scores_were_drawn_with() -> None:
    """Of 300 samples of 30 with a correlation of .6 (Spearman's .58) about 19 of 20 intervals hold it."""
    rng, held = random.Random(1), 0
    for _ in range(300):
        a = [rng.gauss(0, 1) for _ in range(30)]
        b = [0.6 * x + 0.8 * rng.gauss(0, 1) for x in a]
        low, high = spearman(a, b).interval or (1.0, 0.0)
        held += low <= 6 / math.pi * math.asin(0.3) <= high
    assert 0.91 <= held / 300 <= 0.99
