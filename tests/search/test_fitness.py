"""Objectives: limits as sentences, weights that decide, values that were not measured."""

import pytest
from pydantic import ValidationError

from codenas.errors import ConfigError
from codenas.metrics import Metrics
from codenas.search.fitness import DEFAULT_OBJECTIVES, Objective, broken_limit, check_objectives, costs, weighted_fitness

BITS, SIZE = Objective(metric="bits_per_byte", weight=3.0), Objective(metric="size_bytes", weight=1.0)


def test_a_broken_limit_is_a_sentence_with_the_value_and_the_bound() -> None:
    objectives = (BITS, Objective(metric="size_bytes", limit=4e6), Objective(metric="latency_ms_p50", limit=2.5))
    assert broken_limit(Metrics(size_bytes=4_000_000, latency_ms_p50=2.5), objectives) is None
    assert broken_limit(Metrics(size_bytes=5_250_000), objectives) == "size_bytes 5.25 MB is outside its limit, at most 4 MB"
    slow = broken_limit(Metrics(size_bytes=1, latency_ms_p50=3.25), objectives)
    assert slow == "latency_ms_p50 3.25 ms per token is outside its limit, at most 2.5 ms per token"


def test_a_limit_from_below() -> None:
    fast = Objective(metric="tokens_per_second", direction="maximize", limit=1_000)
    assert fast.broken_by(Metrics(tokens_per_second=1_000)) is None
    assert (
        fast.broken_by(Metrics(tokens_per_second=999.5)) == "tokens_per_second 999.5 tokens/s is outside its limit, at least 1,000 tokens/s"
    )


def test_what_was_not_measured_breaks_no_limit_and_costs_the_most() -> None:
    limited = Objective(metric="latency_ms_p50", weight=1, limit=1.0)
    assert limited.broken_by(Metrics()) is None
    assert limited.cost(Metrics()) == float("inf")


def test_costs_turn_what_is_maximised_and_leave_out_what_decides_nothing() -> None:
    objectives = (BITS, Objective(metric="tokens_per_second", direction="maximize", weight=1), Objective(metric="params"))
    assert costs(Metrics(bits_per_byte=2.0, tokens_per_second=100.0, params=5), objectives) == (2.0, -100.0)


def test_fitness_is_the_weighted_mean_of_scaled_costs() -> None:
    metrics = [Metrics(bits_per_byte=bits, size_bytes=size) for bits, size in ((1.0, 300), (1.5, 200), (2.0, 100))]
    assert weighted_fitness(metrics, (BITS, SIZE)) == pytest.approx([0.25, 0.5, 0.75])


def test_fitness_does_not_depend_on_the_size_of_weights_or_units() -> None:
    metrics = [Metrics(bits_per_byte=bits, size_bytes=size) for bits, size in ((1.0, 300), (1.2, 200), (2.0, 100))]
    larger = [each.model_copy(update={"size_bytes": (each.size_bytes or 0) * 1_000}) for each in metrics]
    doubled = tuple(objective.model_copy(update={"weight": 2 * objective.weight}) for objective in (BITS, SIZE))
    assert weighted_fitness(metrics, (BITS, SIZE)) == pytest.approx(weighted_fitness(larger, doubled))


def test_fitness_of_equals_of_the_unmeasured_and_of_nobody() -> None:
    same = [Metrics(bits_per_byte=1.0, size_bytes=5)] * 2
    assert weighted_fitness(same, (BITS, SIZE)) == [0.0, 0.0]
    assert weighted_fitness([Metrics(bits_per_byte=1.0), Metrics(bits_per_byte=2.0)], (BITS, SIZE)) == [0.25, 1.0]
    assert weighted_fitness([Metrics(bits_per_byte=1.0), Metrics()], (BITS,)) == [0.0, 1.0]
    assert weighted_fitness([], (BITS, SIZE)) == []


def test_the_default_objectives_decide_something() -> None:
    check_objectives(DEFAULT_OBJECTIVES)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="the weights of params, size_bytes are all zero; give one objective a weight above 0"):
        check_objectives([Objective(metric="params"), Objective(metric="size_bytes", limit=1e6)])
    with pytest.raises(ConfigError, match="the weights of no objective are all zero"):
        check_objectives([])


def test_a_metric_is_given_once() -> None:
    with pytest.raises(ConfigError, match="is given twice: bits_per_byte, bits_per_byte"):
        check_objectives([BITS, BITS])


def test_an_unknown_metric_is_answered_by_their_names() -> None:
    with pytest.raises(ValidationError, match="no metric 'loss'; choose among bits_per_byte, params"):
        Objective(metric="loss")


@pytest.mark.parametrize("values", [{"weight": -1}, {"direction": "up"}, {"limits": 3}])
def test_illegal_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Objective.model_validate({"metric": "params", **values})


FAST = Objective(metric="latency_ms_p50", weight=1.0, target=5.0, limit=10.0)
LARGE = Objective(metric="tokens_per_second", direction="maximize", weight=1.0, target=900, limit=500)


def test_what_is_better_than_the_target_costs_as_much() -> None:
    assert [FAST.cost(Metrics(latency_ms_p50=value)) for value in (1.0, 5.0, 6.0)] == [5.0, 5.0, 6.0]
    assert [LARGE.cost(Metrics(tokens_per_second=value)) for value in (2_000, 900, 800)] == [-900, -900, -800]
    assert FAST.cost(Metrics()) == float("inf")
    assert (
        FAST.criterion.cost(1.0) == 5.0
        and FAST.criterion.least == 5.0
        and LARGE.criterion.least == -900
        and BITS.criterion.least == -float("inf")
    )


def test_a_target_changes_no_limit() -> None:
    assert FAST.broken_by(Metrics(latency_ms_p50=1.0)) is None and FAST.broken_by(Metrics(latency_ms_p50=11.0)) is not None
    assert (
        not FAST.criterion.broken_by(1.0)
        and FAST.criterion.broken_by(11.0)
        and LARGE.criterion.broken_by(499)
        and not LARGE.criterion.broken_by(9_000)
    )


def test_beyond_the_target_other_objectives_decide() -> None:
    metrics = [Metrics(bits_per_byte=bits, latency_ms_p50=ms) for bits, ms in ((2.0, 1.0), (1.9, 4.0), (1.8, 6.0))]
    quality = Objective(metric="bits_per_byte", weight=1.0)
    free = weighted_fitness(metrics, (quality, FAST.model_copy(update={"target": None})))
    assert free[0] == min(free)
    clipped = weighted_fitness(metrics, (quality, FAST))
    assert clipped == pytest.approx([0.5, 0.25, 0.5]) and clipped[1] == min(clipped)
    assert weighted_fitness(metrics[:2], (FAST,)) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"limit": 4.0, "target": 5.0},
            "the target of latency_ms_p50, 5 ms per token, is outside its limit, at most 4 ms per token; change one of them",
        ),
        (
            {"direction": "maximize", "limit": 4.0, "target": 3.0},
            "the target of latency_ms_p50, 3 ms per token, is outside its limit, at least 4 ms per token",
        ),
        ({"target": float("nan")}, "finite number"),
        ({"target": float("inf")}, "finite number"),
        ({"weight": float("nan")}, "finite number"),
    ],
)
def test_a_target_outside_the_limit_and_what_is_no_number_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Objective.model_validate({"metric": "latency_ms_p50", **values})
