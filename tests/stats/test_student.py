"""Student's t over a pooled deviation."""

from statistics import stdev

import pytest

from codenas.stats.student import Pooled


def test_the_bound_is_the_quantile_times_the_standard_error() -> None:
    """Three and two values, three degrees of freedom: 3.182 standard errors of the difference of the means."""
    a, b = [2.50, 2.52, 2.54], [2.20, 2.22]
    pooled = Pooled.of([a, b, [1.0]])
    assert pooled is not None and pooled.freedom == 3
    assert pooled.variance == pytest.approx((2 * stdev(a) ** 2 + stdev(b) ** 2) / 3)
    assert pooled.bound(3, 2) == pytest.approx(3.182 * (pooled.variance * (1 / 3 + 1 / 2)) ** 0.5)
    assert pooled.bound(3, 1) > pooled.bound(3, 2)


def test_without_a_group_of_two_nothing_is_known() -> None:
    assert Pooled.of([]) is None and Pooled.of([[1.0], [2.0]]) is None


def test_with_many_degrees_of_freedom_the_last_quantile_is_on_the_safe_side() -> None:
    pooled = Pooled.of([[float(i % 2) for i in range(100)]])
    assert pooled is not None and pooled.bound(1, 1) == pytest.approx(2.131 * (2 * pooled.variance) ** 0.5)
