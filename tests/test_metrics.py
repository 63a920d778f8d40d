"""Metrics: measured or absent, finite, frozen, merged without loss."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codenas.metrics import METRICS, QUALITY, STATIC, LatencyContext, Metrics, context_name

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
    measured = [
        Metrics(bits_per_byte=2.0, params=10, size_bytes=5),
        Metrics(bits_per_byte=3.0, params=10, size_bytes=8, latency_ms_p50=1.0),
    ]
    assert Metrics.mean(measured) == Metrics(bits_per_byte=2.5, params=10, size_bytes=6)
    assert Metrics.mean(measured[1:]) == measured[1]


def test_every_metric_has_one_info() -> None:
    assert list(METRICS) == [name for name in Metrics.model_fields if name != "latency_context"]
    assert len({info.label for info in METRICS.values()}) == len(METRICS)
    assert STATIC == ("params", "size_bytes", "latency_ms_p50", "latency_ms_p95") and QUALITY not in STATIC


def test_the_name_of_a_metric_agrees_with_its_unit() -> None:
    units = {"_bytes": "B", "_seconds": "s", "_tokens": "tokens", "_per_second": "tokens/s"}
    for name, info in METRICS.items():
        assert all(info.unit == unit for end, unit in units.items() if name.endswith(end)), name


@pytest.mark.parametrize(
    ("name", "value", "shown", "exact"),
    [
        ("bits_per_byte", 1.70449, "1.704", "1.70449"),
        ("params", 4_512_345, "4.51 M", "4,512,345"),
        ("size_bytes", 9_023_456, "9.02 MB", "9.02346 MB"),
        ("latency_ms_p50", 2.6849, "2.68 ms per token", "2.6849 ms per token"),
        ("latency_ms_p50", 0.0352, "0.035 ms per token", "0.0352 ms per token"),
        ("latency_ms_p50", 0.0999, "0.100 ms per token", "0.0999 ms per token"),
        ("latency_ms_p50", 1e-12, "0.000000 ms per token", "1e-12 ms per token"),
        ("size_bytes", 0, "0.00 MB", "0 MB"),
        ("tokens_per_second", 4340.4, "4,340 tokens/s", "4,340.4 tokens/s"),
        ("peak_memory_bytes", 1_250_000_000, "1.25 GB", "1.25 GB"),
        ("train_tokens", 614_400, "614,400 tokens", "614,400 tokens"),
        ("train_seconds", 125.0, "2m05s", "125 s"),
    ],
)
def test_a_value_is_shown_with_its_unit_and_given_exactly_in_messages(name: str, value: float, shown: str, exact: str) -> None:
    assert (METRICS[name].format(value), METRICS[name].exact(value)) == (shown, exact)
    assert METRICS[name].number(value) == shown.removesuffix(METRICS[name].shown_unit).rstrip() or METRICS[name].formatter is not None


def test_a_heading_has_the_unit_of_its_numbers() -> None:
    assert METRICS["size_bytes"].heading == "stored size (MB)" and METRICS["bits_per_byte"].heading == "bits per byte"


GPU, CPU = LatencyContext(device="H200", threads=1), LatencyContext(device="EPYC", threads=2)


def test_a_context_travels_with_the_latency_that_it_belongs_to() -> None:
    here, there = Metrics(latency_ms_p50=1.0, latency_context=GPU), Metrics(latency_ms_p50=3.0, latency_context=CPU)
    assert here.merged(there) == there and here.merged(Metrics(params=3)).latency_context == GPU
    assert here.merged(Metrics(latency_ms_p50=3.0)).latency_context is None, "of an unknown device, not of that of another number"
    assert here.values() == {"latency_ms_p50": 1.0}
    assert Metrics.model_validate_json(here.model_dump_json()) == here


def test_latencies_of_different_devices_have_no_mean() -> None:
    measured = [Metrics(params=2, latency_ms_p50=ms, latency_context=context) for ms, context in ((1.0, GPU), (9.0, CPU), (2.0, GPU))]
    assert Metrics.mean(measured) == Metrics(params=2, latency_ms_p50=1.5, latency_context=GPU)


def test_figures_of_an_earlier_version_have_an_unknown_device() -> None:
    old = Metrics.model_validate_json('{"latency_ms_p50": 1.0}')
    assert context_name(old.latency_context) == "an unknown device" and context_name(CPU) == "EPYC, 2 threads, float32"
