"""Fronts against their definition, and an order that covers them."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.stats.pareto import dominates, front, non_dominated_sort, ranking, scaled, spread

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=150)

values = st.one_of(st.integers(0, 4).map(float), st.just(math.inf))  # few values: many ties
points = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[values] * width), max_size=14))


@given(points)
@DETERMINISTIC
def test_dominance_is_a_strict_order(some: list[tuple[float, ...]]) -> None:
    for a in some:
        assert not dominates(a, a)
        for b in some:
            assert not (dominates(a, b) and dominates(b, a))
            assert all(dominates(a, c) for c in some if dominates(a, b) and dominates(b, c))


@given(points)
@DETERMINISTIC
def test_the_front_is_what_nobody_beats_and_it_beats_all_others(some: list[tuple[float, ...]]) -> None:
    chosen = front(some)
    assert chosen == [i for i in range(len(some)) if all(not dominates(other, some[i]) for other in some)]
    assert all(any(dominates(some[i], some[j]) for i in chosen) for j in range(len(some)) if j not in chosen)


@given(points)
@DETERMINISTIC
def test_layers_are_a_partition_and_every_layer_is_the_front_of_the_rest(some: list[tuple[float, ...]]) -> None:
    layers = non_dominated_sort(some)
    assert sorted(i for layer in layers for i in layer) == list(range(len(some)))
    for number, layer in enumerate(layers):
        rest = sorted(i for later in layers[number:] for i in later)
        assert layer == [rest[i] for i in front([some[i] for i in rest])]


@given(points)
@DETERMINISTIC
def test_a_ranking_holds_everyone_once_and_never_puts_the_beaten_first(some: list[tuple[float, ...]]) -> None:
    order = ranking(some)
    assert sorted(order) == list(range(len(some)))
    for place, i in enumerate(order):
        assert not any(dominates(some[j], some[i]) for j in order[place + 1 :])


@given(st.lists(values, max_size=12))
@DETERMINISTIC
def test_in_one_dimension_the_ranking_is_the_plain_order(numbers: list[float]) -> None:
    assert ranking([(number,) for number in numbers]) == sorted(range(len(numbers)), key=lambda i: numbers[i])


@given(points)
@DETERMINISTIC
def test_scaling_keeps_the_order_and_the_bounds(some: list[tuple[float, ...]]) -> None:
    for before, after in zip(zip(*some, strict=True), zip(*scaled(some), strict=True), strict=True):
        assert all(0.0 <= place <= 1.0 for place in after)
        assert all(after[i] <= after[j] for i in range(len(some)) for j in range(len(some)) if before[i] <= before[j])


def test_the_spread_starts_at_the_best_and_takes_the_farthest_next() -> None:
    line = [(0.0, 10.0), (1.0, 9.0), (5.0, 5.0), (9.0, 1.0), (10.0, 0.0)]
    assert spread(line) == [0, 4, 2, 1, 3]
    assert spread([]) == [] and spread([(3.0, 1.0)]) == [0]


def test_the_spread_does_not_depend_on_units() -> None:
    line = [(0.0, 10.0), (1.0, 9.0), (5.0, 5.0), (9.0, 1.0), (10.0, 0.0)]
    assert spread([(x, y * 1e6) for x, y in line]) == spread(line)


def test_a_dimension_that_nobody_measured_changes_no_spread() -> None:
    line = [(5.0, 5.0), (0.0, 10.0), (9.0, 1.0), (10.0, 0.0)]
    assert spread([(*point, math.inf) for point in line]) == spread(line)


def test_equal_points_keep_their_order() -> None:
    assert ranking([(1.0, 1.0)] * 4) == [0, 1, 2, 3]
