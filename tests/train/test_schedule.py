"""Warm-up, stable, decay."""

import pytest

from codenas.train.schedule import rate_factor


def test_warm_up_is_linear_and_reaches_one_on_its_last_step() -> None:
    assert [rate_factor(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_full() -> None:
    assert rate_factor(0, 0) == rate_factor(0, 1) == 1.0


def test_the_stable_part_does_not_know_where_it_ends() -> None:
    assert {rate_factor(step, 10) for step in range(10, 10_000, 77)} == {1.0}


def test_the_decay_is_linear_and_its_last_step_still_learns() -> None:
    factors = [rate_factor(step, 0, decay_from=6, last_step=10) for step in range(10)]
    assert factors == [1.0] * 6 + [1.0, 0.75, 0.5, 0.25]


def test_a_decay_that_starts_inside_the_warm_up_multiplies() -> None:
    assert rate_factor(1, 4, decay_from=0, last_step=4) == pytest.approx(0.5 * 0.75)


def test_a_decay_needs_both_ends() -> None:
    assert rate_factor(9, 0, decay_from=5) == rate_factor(9, 0, last_step=10) == 1.0
