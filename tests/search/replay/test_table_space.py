"""The rows of a table as a space: what is proposed is always a row, the nearest to what was meant."""

import random

import numpy as np
import pytest

from codenas.search.replay.table_space import TableSpace
from tests.search.tables import synthetic_table

TABLE = synthetic_table()
SPACE = TableSpace(TABLE.choices((), ()), {"params": TABLE.numbers("params")})


def distance(a: int, b: int) -> int:
    one, other = SPACE.flatten(a), SPACE.flatten(b)
    return sum(one[name] != other[name] for name in one)


def test_a_row_is_found_again_by_its_choices() -> None:
    rng = random.Random(0)
    for row in range(len(SPACE)):
        assert SPACE.near(SPACE.flatten(row), rng) == row
        assert SPACE.flatten(row)["width"] == TABLE.columns["choice.width"][row]
        assert SPACE.static(row) == {"params": TABLE.columns["params"][row]}


@pytest.mark.parametrize("fields", [1, 2, 4])
def test_where_all_combinations_are_rows_a_mutation_changes_as_many_fields_as_asked(fields: int) -> None:
    rng = random.Random(fields)
    for _ in range(100):
        row = SPACE.sample(rng)
        assert distance(row, SPACE.mutate(row, rng, fields)) == fields


def test_a_cross_takes_its_choices_from_its_parents() -> None:
    rng = random.Random(1)
    for _ in range(100):
        mother, father = SPACE.sample(rng), SPACE.sample(rng)
        child = SPACE.flatten(SPACE.cross(mother, father, rng))
        assert all(value in (SPACE.flatten(mother)[name], SPACE.flatten(father)[name]) for name, value in child.items())


def test_in_a_sparse_table_the_nearest_row_takes_the_place_of_a_missing_one() -> None:
    sparse = TableSpace({"a": [1, 1, 2], "b": ["x", "y", "z"]}, {})
    rng = random.Random(2)
    assert {sparse.mutate(2, rng) for _ in range(50)} == {0, 1}
    assert sparse.near({"a": 2, "b": "unknown"}, rng) == 2
    assert sparse.static(0) == {}


def test_choices_that_are_numbers_are_in_their_order() -> None:
    space = TableSpace({"width": [64, 8, 32, 8], "kind": ["b", "a", "b", None]}, {})
    assert space.choices == {"width": (8, 32, 64), "kind": ("b", "a", None)}


def test_a_table_of_one_row_is_a_space() -> None:
    space, rng = TableSpace({"a": [1]}, {"f": np.array([2.0])}), random.Random(0)
    assert space.sample(rng) == space.mutate(0, rng, 3) == space.cross(0, 0, rng) == 0
    assert space.contains(0) and not space.contains(1) and list(space.pool(9, rng)) == [0]
