"""The least significant difference over a pooled variance."""

from statistics import stdev

import pytest

from codenas.stats.significance import PooledVariance


def test_the_bound_is_the_quantile_times_the_standard_error() -> None:
    """Three and two values, three degrees of freedom: 3.182 standard errors of the difference of the means."""
    a, b = [2.50, 2.52, 2.54], [2.20, 2.22]
    pooled = PooledVariance.of([a, b, [1.0]])
    assert pooled is not None and pooled.degrees_of_freedom == 3
    assert pooled.variance == pytest.approx((2 * stdev(a) ** 2 + stdev(b) ** 2) / 3)
    assert pooled.least_significant_difference(3, 2) == pytest.approx(3.182446 * (pooled.variance * (1 / 3 + 1 / 2)) ** 0.5)
    assert pooled.least_significant_difference(3, 1) > pooled.least_significant_difference(3, 2)


def test_without_a_group_of_two_nothing_is_known() -> None:
    assert PooledVariance.of([]) is None and PooledVariance.of([[1.0], [2.0]]) is None


def test_with_many_degrees_of_freedom_the_quantile_is_that_of_the_normal_distribution() -> None:
    pooled = PooledVariance.of([[float(i % 2) for i in range(10_000)]])
    assert pooled is not None and pooled.least_significant_difference(1, 1) == pytest.approx(
        1.9602 * (2 * pooled.variance) ** 0.5, rel=1e-4
    )
