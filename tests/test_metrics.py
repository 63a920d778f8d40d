"""Metrics: measured or absent, finite, frozen, merged without loss."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codenas.metrics import Metrics

FLOAT_FIELDS = ["bits_per_byte", "latency_ms_p50", "latency_ms_p95", "tokens_per_second", "train_seconds"]


def test_nothing_is_measured_at_first() -> None:
    assert set(Metrics().model_dump().values()) == {None}


@pytest.mark.parametrize("field", FLOAT_FIELDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_number_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{field} is (nan|inf|-inf): a metric is a finite number"):
        Metrics.model_validate({field: value})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_non_finite_number_is_refused_from_json(text: str) -> None:
    with pytest.raises(ValidationError):
        Metrics.model_validate_json(f'{{"bits_per_byte": {text}}}')


@pytest.mark.parametrize(
    "values", [{"params": 0}, {"size_bytes": -1}, {"bits_per_byte": -0.1}, {"params": 1.5}, {"loss": 1.0}, {"train_seconds": "nan"}]
)
def test_illegal_and_unknown_figures_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Metrics.model_validate(values)


def test_metrics_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Metrics().params = 1  # type: ignore[misc]


def test_merged_takes_what_the_other_has_measured() -> None:
    merged = Metrics(bits_per_byte=2.0, params=10).merged(Metrics(bits_per_byte=1.5, latency_ms_p50=3.0))
    assert merged == Metrics(bits_per_byte=1.5, params=10, latency_ms_p50=3.0)


measured = st.builds(
    Metrics,
    bits_per_byte=st.none() | st.floats(0, 8),
    params=st.none() | st.integers(1, 10**9),
    latency_ms_p50=st.none() | st.floats(0, 1e4),
)


@given(measured, measured)
def test_merged_keeps_or_replaces_and_round_trips(first: Metrics, second: Metrics) -> None:
    merged = first.merged(second)
    assert Metrics.model_validate_json(merged.model_dump_json()) == merged
    assert first.merged(Metrics()) == first and Metrics().merged(second) == second


def test_the_mean_is_of_what_all_have_measured_and_counts_stay_counts() -> None:
    everyone = [
        Metrics(bits_per_byte=2.0, params=10, size_bytes=5),
        Metrics(bits_per_byte=3.0, params=10, size_bytes=8, latency_ms_p50=1.0),
    ]
    assert Metrics.mean(everyone) == Metrics(bits_per_byte=2.5, params=10, size_bytes=6)
    assert Metrics.mean(everyone[1:]) == everyone[1]
