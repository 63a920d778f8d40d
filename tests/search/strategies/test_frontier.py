"""Along the front first, then where there is most to gain: better than random, inside the limits, whatever is known."""

import random
from dataclasses import replace

import pytest

from codenas.search.replay.replay import ColumnRoles, Recorded, replay
from codenas.search.replay.table import Table
from codenas.search.strategies.base import Criterion, Observation, Problem, Strategy
from codenas.search.strategies.frontier import Frontier
from codenas.search.strategies.random_search import RandomSearch
from codenas.search.strategies.surrogate import Surrogate, features
from codenas.stats.pareto import dominates
from tests.search.tables import synthetic_table

TABLE = synthetic_table()
ROLES = ColumnRoles(("params", "latency_ms"), ("bits_per_byte",), capacity="params")
RECORDED = Recorded.of(TABLE, ROLES)
PROBLEM = RECORDED.problem


def promise(row: int) -> tuple[float, float]:
    figures = PROBLEM.space.static(row)
    return -figures["params"], figures["latency_ms"]


def test_the_first_trainings_are_on_the_training_free_front_and_apart() -> None:
    history: list[Observation[int]] = []
    for index in range(6):
        suggestion = Frontier().ask(PROBLEM, history, 1, random.Random(index))[0]
        assert suggestion.origin == "frontier"
        assert not any(
            dominates(promise(row), promise(suggestion.point)) for row in range(len(TABLE)) if row not in {s.point for s in history}
        )
        history.append(Observation(index, suggestion.point, RECORDED.cost(300, suggestion.point)))
    assert len({observation.point for observation in history}) == 6
    latencies = sorted(promise(observation.point)[1] for observation in history)
    assert latencies[-1] > 5 * latencies[0]
    assert Frontier().ask(PROBLEM, history, 1, random.Random(9))[0].origin == "improvement"


def test_it_finds_more_than_random_search_and_correction_more_than_the_front_alone() -> None:
    strategies = (RandomSearch(), Frontier(correct=False), Frontier())
    found = [sum(replay(RECORDED, strategy, 20, seed)[-1] for seed in range(3)) / 3 for strategy in strategies]
    assert found[0] + 0.02 < found[1] < found[2]


def mean_share(recorded: Recorded, strategy: Strategy, trainings: int) -> float:
    return sum(replay(recorded, strategy, trainings, seed)[-1] for seed in range(6)) / 6


def test_it_beats_random_search_where_no_capacity_is_known() -> None:
    nothing = Recorded.of(TABLE, ColumnRoles(("latency_ms",), ("bits_per_byte",), choices=tuple(TABLE.columns)[:4]))
    for trainings in (8, 12, 20):
        assert mean_share(nothing, RandomSearch(), trainings) + 0.03 < mean_share(nothing, Frontier(), trainings)


def test_it_beats_random_search_where_capacity_is_uninformative() -> None:
    shuffled = Table(TABLE.path, {**TABLE.columns, "params": random.Random(0).sample(TABLE.columns["params"], len(TABLE))})
    misleading = Recorded.of(shuffled, ROLES)
    assert mean_share(misleading, RandomSearch(), 20) + 0.03 < mean_share(misleading, Frontier(), 20)


def test_nothing_outside_a_known_limit_is_proposed() -> None:
    limited = replace(PROBLEM, criteria=(Criterion("bits_per_byte"), Criterion("latency_ms", limit=1.0)))
    history = [Observation(row, row, RECORDED.cost(300, row)) for row in range(10)]
    for observation in ([], history):
        suggestions = Frontier().ask(limited, observation, 20, random.Random(0))
        assert all(limited.space.static(suggestion.point)["latency_ms"] <= 1.0 for suggestion in suggestions)


@pytest.mark.parametrize("static", [(), ("latency_ms",), ("params",)])
def test_it_works_with_whatever_is_known(static: tuple[str, ...]) -> None:
    little = Recorded.of(TABLE, ColumnRoles(static, ("bits_per_byte",), choices=tuple(TABLE.columns)[:4]))
    shares = replay(little, Frontier(), 12, 0)
    assert len(shares) == 12 and shares[-1] > 0


def test_a_second_trained_metric_is_predicted_too() -> None:
    both = Recorded.of(TABLE, ColumnRoles(("params",), ("bits_per_byte@300", "latency_ms"), capacity="params"))
    assert replay(both, Frontier(), 14, 0)[-1] > 0.5


def test_the_surrogate_goes_through_what_it_saw_and_is_unsure_elsewhere() -> None:
    rows = random.Random(0).sample(range(len(TABLE)), 60)
    table, bits = features(PROBLEM.space, rows), [(RECORDED.cost(300, row) or (0.0,))[0] for row in rows]
    mean, sd = Surrogate.fit(table.at(range(20)), bits[:20]).predict(table)
    errors = [abs(float(guess) - true) for guess, true in zip(mean, bits, strict=True)]
    assert max(errors[:20]) < 0.05 and sum(errors[20:]) / 40 < 0.06
    assert float(sd[:20].max()) < float(sd[20:].max())


def test_points_are_never_proposed_again_while_others_are_left() -> None:
    small = Problem(PROBLEM.space, PROBLEM.criteria, PROBLEM.capacity)
    history = [Observation(row, row, RECORDED.cost(300, row)) for row in range(len(TABLE) - 3)]
    suggestions = Frontier().ask(small, history, 10, random.Random(1))
    assert {suggestion.point for suggestion in suggestions} <= set(range(len(TABLE) - 3, len(TABLE)))
