"""The hypervolume equals a count of the cells that are dominated, in every dimension."""

import itertools
import random

import pytest

from codenas.stats.hypervolume import hypervolume
from codenas.stats.pareto import Point


def counted(points: list[Point], size: int, dimensions: int) -> int:
    """Cells of a grid of side `size` that some point dominates: brute force, for whole coordinates."""
    cells = itertools.product(range(size), repeat=dimensions)
    return sum(any(all(x <= c for x, c in zip(point, cell, strict=True)) for point in points) for cell in cells)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(15))
def test_it_is_the_number_of_dominated_cells(dimensions: int, seed: int) -> None:
    rng, size = random.Random(f"{dimensions} {seed}"), 6
    points: list[Point] = [tuple(rng.randrange(size + 2) for _ in range(dimensions)) for _ in range(rng.randrange(12))]
    inside = [point for point in points if all(x < size for x in point)]
    assert hypervolume(points, (size,) * dimensions) == counted(inside, size, dimensions)


def test_duplicates_and_dominated_points_add_nothing() -> None:
    front: list[Point] = [(0.1, 0.7, 0.2), (0.5, 0.2, 0.6)]
    expected = hypervolume(front, (1.0, 1.0, 1.0))
    assert hypervolume([*front, *front, (0.6, 0.9, 0.9)], (1.0, 1.0, 1.0)) == pytest.approx(expected)


def test_without_a_point_below_the_reference_it_is_nothing() -> None:
    assert hypervolume([], (1.0, 1.0)) == hypervolume([(1.0, 0.0), (2.0, 0.0)], (1.0, 1.0)) == 0.0


def test_the_order_of_the_points_does_not_matter() -> None:
    rng = random.Random(0)
    points: list[Point] = [tuple(rng.random() for _ in range(3)) for _ in range(30)]
    volumes = {round(hypervolume(rng.sample(points, 30), (1.0, 1.0, 1.0)), 12) for _ in range(5)}
    assert len(volumes) == 1
