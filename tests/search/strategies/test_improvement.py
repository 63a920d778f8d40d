"""The expected improvement is the mean of what draws of the uncertain cost add to the volume."""

import random

import numpy as np
import pytest

from codenas.search.strategies.improvement import expected_improvement
from codenas.stats.hypervolume import hypervolume
from codenas.stats.pareto import Point

DRAWS = 4_000


@pytest.mark.parametrize("criteria", [1, 2, 3, 4])
@pytest.mark.parametrize("trained", [0, 1, 6])
def test_it_is_the_mean_gain_of_many_draws(criteria: int, trained: int) -> None:
    rng, reference = random.Random(f"{criteria} {trained}"), (1.0,) * criteria
    done: list[Point] = [tuple(rng.random() for _ in range(criteria)) for _ in range(trained)]
    known: list[Point] = [tuple(rng.random() for _ in range(criteria - 1)) for _ in range(3)]
    mean, sd = np.array([0.2, 0.5, 0.9]), np.array([0.05, 0.2, 0.3])
    expected = expected_improvement(mean, sd, known, done, reference)
    before = hypervolume(done, reference)
    for point, centre, spread, found in zip(known, mean, sd, expected, strict=True):
        drawn = [rng.gauss(float(centre), float(spread)) for _ in range(DRAWS)]
        gains = [hypervolume([*done, (cost, *point)], reference) - before for cost in drawn]
        assert float(found) == pytest.approx(
            sum(gains) / DRAWS, abs=4 * float(np.std(gains)) / DRAWS**0.5 + 3e-4
        )  # rare gains are not drawn


def test_what_is_beyond_the_reference_is_worth_nothing() -> None:
    gains = expected_improvement(np.array([0.5]), np.array([0.1]), [(1.5,)], [(0.5, 0.5)], (1.0, 1.0))
    assert gains.tolist() == [0.0]


def test_below_the_least_cost_nothing_is_gained() -> None:
    """The mean of draws that count as the least where they are below it."""
    rng, done, known, least = random.Random(0), [(0.6, 0.5), (0.45, 0.8)], [(0.4,), (0.7,)], 0.4
    mean, sd = np.array([0.3, 0.5]), np.array([0.1, 0.1])
    expected = expected_improvement(mean, sd, known, done, (1.0, 1.0), least)
    before = hypervolume(done, (1.0, 1.0))
    for point, centre, spread, found in zip(known, mean, sd, expected, strict=True):
        drawn = [max(least, rng.gauss(float(centre), float(spread))) for _ in range(DRAWS)]
        gains = [hypervolume([*done, (cost, *point)], (1.0, 1.0)) - before for cost in drawn]
        assert float(found) == pytest.approx(sum(gains) / DRAWS, abs=4 * float(np.std(gains)) / DRAWS**0.5 + 3e-4)
