"""Adaptive promotion: few are promoted where the low rung ranks well, and up to the maximum where it does not."""

import math
import random
from collections.abc import Callable, Sequence

import pytest

from codenas.search.adaptive import PENDING_PROMOTIONS, Contenders, Forecast, Promotions, choose_promotions, static_costs
from codenas.stats.pareto import ranking

MANY, LEAST, MOST = 24, 2, 10


def scores(correlation: float, seed: int) -> tuple[list[float], list[float]]:
    """Scores of 24 at a low and at a high rung, in units that differ."""
    rng = random.Random(seed)
    low = [rng.gauss(0, 1) for _ in range(MANY)]
    return low, [5 + 2 * (correlation * x + math.sqrt(1 - correlation**2) * rng.gauss(0, 1)) for x in low]


def promoted(low: Sequence[float], high: Sequence[float], capacity: Sequence[float] | None = None, most: int = MOST) -> Promotions:
    contenders = Contenders(low, capacity or [0.0] * len(low), [0.0] * len(low))
    return choose_promotions(contenders, ranking([(x,) for x in low]), LEAST, most, high.__getitem__)


def mean_count(correlation: float) -> float:
    return sum(len(promoted(*scores(correlation, seed)).chosen) for seed in range(20)) / 20


def test_the_better_the_low_rung_ranks_the_fewer_are_promoted() -> None:
    exact, good, bad = mean_count(1.0), mean_count(0.8), mean_count(0.0)
    assert LEAST <= exact < good < bad <= MOST, (exact, good, bad)
    assert exact < 4


def test_an_exact_low_rung_promotes_few() -> None:
    low = [x / MANY for x in range(MANY)]
    found = promoted(low, [1 + 2 * x for x in low])
    assert found.complete and len(found.chosen) <= 4 and found.chosen[0] == 0


def test_capacity_finds_the_best_where_the_low_rung_hides_it() -> None:
    """Larger models are better in the end and not yet at the low rung, as in recorded tables."""
    found = 0
    for seed in range(20):
        rng = random.Random(seed)
        capacity = [rng.uniform(1, 10) for _ in range(MANY)]
        low = [rng.gauss(0, 1) for _ in range(MANY)]
        high = [0.3 * x - each + rng.gauss(0, 0.3) for x, each in zip(low, capacity, strict=True)]
        chosen = promoted(low, high, capacity).chosen
        found += high.index(min(high)) in chosen
    assert found >= 15  # of the six best at the low rung a quarter would be


@pytest.mark.parametrize("seed", range(5))
def test_a_decision_looks_at_no_later_report(seed: int) -> None:
    """Whatever those after it report, and whether they have reported: a promotion is never revoked."""
    low, high = scores(0.5, seed)
    whole = promoted(low, high).chosen
    for known in range(len(whole) + 1):
        reported = set(whole[:known])
        partly = choose_promotions(Contenders(low, low, [0.0] * MANY), ranking([(x,) for x in low]), LEAST, MOST, _reported(high, reported))
        full = choose_promotions(Contenders(low, low, [0.0] * MANY), ranking([(x,) for x in low]), LEAST, MOST, high.__getitem__)
        assert full.chosen[: len(partly.chosen)] == partly.chosen
        assert partly.complete or len(partly.chosen) >= LEAST


def _reported(high: Sequence[float], reported: set[int]) -> Callable[[int], float | None]:
    return lambda i: high[i] if i in reported else None


def test_enough_promotions_are_pending_for_two_workers() -> None:
    low, high = scores(0.0, 0)
    waiting = choose_promotions(Contenders(low, low, [0.0] * MANY), ranking([(x,) for x in low]), 2, MOST, lambda _: None)
    assert len(waiting.chosen) == 2 and not waiting.complete
    first = waiting.chosen[0]
    after = choose_promotions(Contenders(low, low, [0.0] * MANY), ranking([(x,) for x in low]), 2, MOST, _reported(high, {first}))
    assert after.complete or len(after.chosen) == 2 + PENDING_PROMOTIONS


def test_a_failure_on_the_way_is_no_evidence() -> None:
    low, _ = scores(0.9, 0)
    found = promoted(low, [math.inf] * MANY)
    assert found.complete and len(found.chosen) == MOST
    assert found.chosen == tuple(ranking([(x,) for x in low])[:MOST]), "without evidence the order is that of the rung"


def test_static_costs_are_not_forecast() -> None:
    points = [(1.0, 10.0), (2.0, 20.0), (3.0, math.inf)]
    assert static_costs(points, [1.0, 0.5], 0) == [0.0, 1.0, 1.0]
    assert static_costs(points, [0.5, 0.0], 0) == [0.0, 0.0, 0.0]
    assert static_costs([(1.0,)], [1.0], 0) == [0.0]


def test_static_costs_can_exclude_improvement() -> None:
    low, high = scores(0.5, 1)
    heavy = [0.0 if i < 3 else 1_000.0 for i in range(MANY)]
    forecast = Forecast.of(Contenders(low, low, heavy))
    each, any_better = forecast.improvement_probabilities({0: high[0], 1: high[1]}, list(range(3, MANY)))
    assert any_better < 1e-6 and each.max() < 1e-6


@pytest.mark.parametrize("low", [[1.0] * 6, [1.0] * 5 + [2.0]])
def test_equal_scores_are_handled(low: list[float]) -> None:
    found = promoted(low, [1.0] * 6, most=4)
    assert found.complete and LEAST <= len(found.chosen) <= 4
