"""Generations: who may be a parent."""

import random

from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.strategies.base import Observation
from codenas.search.strategies.genetic import Genetic
from tests.search.tables import synthetic_table

PROBLEM = Recorded.of(synthetic_table(), ColumnRoles(("params", "latency_ms"), ("bits_per_byte",), capacity="params")).problem


def history(count: int) -> list[Observation[int]]:
    """The older, the better: the first one is the best of all."""
    return [Observation(index, index, (float(index), float(index))) for index in range(count)]


def parents(genetic: Genetic, observation: list[Observation[int]]) -> set[int]:
    return {parent for suggestion in genetic.ask(PROBLEM, observation, 200, random.Random(0)) for parent in suggestion.parents}


def test_the_first_generation_is_random() -> None:
    assert parents(Genetic(population=6), history(5)) == set()
    assert parents(Genetic(population=6), history(6)) <= set(range(6))


def test_a_generation_has_its_parents_in_those_before_it() -> None:
    assert parents(Genetic(population=6, elites=0, lifetime=1), history(17)) == set(range(6, 12))


def test_the_old_die_and_elites_do_not() -> None:
    assert parents(Genetic(population=4, elites=0, lifetime=1), history(16)) == {12, 13, 14, 15}
    assert parents(Genetic(population=4, elites=2, lifetime=1), history(16)) == {0, 1, 12, 13}


def test_who_failed_is_no_parent() -> None:
    failed = [
        Observation(observation.index, observation.point, None if observation.index % 2 else observation.costs)
        for observation in history(12)
    ]
    assert parents(Genetic(population=6), failed) <= {0, 2, 4, 6, 8, 10}


def test_what_earlier_searches_left_are_the_parents_of_the_first_generation() -> None:
    """They age like anybody: with one lifetime the youngest generation of them is left, and gone after the second of this search."""
    earlier = [Observation(index - 9, 20 + index, (float(20 - index), float(20 - index))) for index in range(9)]
    genetic = Genetic(population=6, elites=0, lifetime=1)
    assert parents(genetic, earlier) == set(range(-6, 0))
    assert parents(genetic, [*earlier, *history(5)]) == set(range(-6, 0))
    assert parents(genetic, [*earlier, *history(6)]) == set(range(6))
