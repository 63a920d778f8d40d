"""What was measured of one model, and how its training went. A number is measured or absent (None), and its unit is in its name.

A metric is one field of `Metrics` with its `MetricInfo`. Whatever lists metrics, formats one, or needs to know its direction or when
it is known asks `METRICS`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from codenas.log import duration

Direction = Literal["minimize", "maximize"]
Known = Literal["before building", "untrained", "after training"]

_PREFIXES = {"": 1.0, "M": 1e6, "G": 1e9}
_MAX_DECIMALS = 6


@dataclass(slots=True, frozen=True)
class MetricInfo:
    """Everything that is known of a metric whatever the model.

    Attributes:
        label: its name in tables and on pages; `short` is one for narrow headings.
        known: counted before the model is built, measured on untrained weights, or measured after training.
        direction: which values are better, unless an objective says otherwise.
        unit: of the stored value; empty for counts and for bits per byte, whose name is its unit.
        prefix: SI prefix of the unit that values are shown in.
        digits: after the decimal point, where a value is shown; small values get more.
        formatter: formats values in place of `prefix`, `digits` and `unit`.
    """

    label: str
    short: str
    known: Known
    direction: Direction = "minimize"
    unit: str = ""
    prefix: Literal["", "M", "G"] = ""
    digits: int = 2
    formatter: Callable[[float], str] | None = None

    @property
    def static(self) -> bool:
        """Whether it is known before training, and so never changes during a search."""
        return self.known != "after training"

    @property
    def shown_unit(self) -> str:
        """The unit that values are shown in, such as `MB` or `ms per token`."""
        return self.prefix + self.unit

    @property
    def heading(self) -> str:
        """The label with the unit in brackets, for the heading of a column or an axis."""
        return f"{self.label} ({self.shown_unit})" if self.shown_unit else self.label

    def scaled(self, value: float) -> float:
        """`value` in `shown_unit`."""
        return value / _PREFIXES[self.prefix]

    def number(self, value: float) -> str:
        """`value` in `shown_unit`, without the unit: for a column whose heading has it."""
        return self.formatter(value) if self.formatter is not None else f"{self.scaled(value):,.{self._decimals(value)}f}"

    def _decimals(self, value: float) -> int:
        """`digits`, or as many as small values need for two significant figures: a native step takes hundredths of a millisecond."""
        shown = abs(self.scaled(value))
        return self.digits if shown >= 0.1 or shown == 0 or not self.digits else min(_MAX_DECIMALS, 1 - math.floor(math.log10(shown)))

    def format(self, value: float) -> str:
        """`value` with its unit."""
        unit = "" if self.formatter is not None else self.shown_unit
        return f"{self.number(value)} {unit}".rstrip()

    def exact(self, value: float) -> str:
        """`value` in six digits with its unit, as a limit is given: in MB or GB what is shown in these, all else as stored."""
        return f"{_six_digits(self.scaled(value))} {self.shown_unit}" if self.unit else _six_digits(value)


class LatencyContext(BaseModel):
    """What a latency was measured on. Latencies compare only where all of it is the same.

    Attributes:
        device: the name of the processor or of the GPU, such as `NVIDIA H200`.
        threads: of the process that decodes.
        precision: of the arithmetic, such as `float32`; `as stored` where it follows the storage of the weights.
        backend: what computed the forward passes; None where an earlier version measured, which timed torch without an engine.
        clock: CPU time of the decoding thread, or wall time; None where an earlier version measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    threads: PositiveInt
    precision: str = "float32"
    backend: str | None = None
    clock: Literal["CPU", "wall"] | None = None

    def __str__(self) -> str:
        engine = [] if self.backend is None else [f"{self.backend} backend, {self.clock} time"]
        return ", ".join([self.device, f"{self.threads} thread{'s' if self.threads > 1 else ''}", self.precision, *engine])


def context_name(context: LatencyContext | None) -> str:
    """A context as people read it; earlier versions did not store one."""
    return "an unknown device" if context is None else str(context)


class Metrics(BaseModel):
    """Metrics of one model at one point of its training; None means that it was not measured (yet).

    A non-finite number is refused: a model that yields one is a failed trial, not a trial with a metric.

    Attributes:
        latency_context: what both latencies were measured on; None where an earlier version measured them: an unknown device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bits_per_byte: Annotated[
        NonNegativeFloat | None,  # on held-out text, over its raw bytes
        MetricInfo("bits per byte", "bits per byte", "after training", digits=3),
    ] = None
    params: Annotated[PositiveInt | None, MetricInfo("parameters", "params", "before building", prefix="M")] = None
    size_bytes: Annotated[
        PositiveInt | None,  # of the stored artefact
        MetricInfo("stored size", "size", "before building", unit="B", prefix="M"),
    ] = None
    latency_ms_p50: Annotated[
        NonNegativeFloat | None,  # per token of cached decoding
        MetricInfo("latency p50", "p50", "untrained", unit="ms per token"),
    ] = None
    latency_ms_p95: Annotated[NonNegativeFloat | None, MetricInfo("latency p95", "p95", "untrained", unit="ms per token")] = None
    tokens_per_second: Annotated[
        NonNegativeFloat | None,  # while training
        MetricInfo("training speed", "speed", "after training", "maximize", unit="tokens/s", digits=0),
    ] = None
    peak_memory_bytes: Annotated[PositiveInt | None, MetricInfo("peak memory", "memory", "after training", unit="B", prefix="G")] = None
    train_tokens: Annotated[
        NonNegativeInt | None, MetricInfo("training tokens", "tokens", "after training", "maximize", unit="tokens", digits=0)
    ] = None
    train_seconds: Annotated[
        NonNegativeFloat | None, MetricInfo("training time", "time", "after training", unit="s", formatter=duration)
    ] = None
    latency_context: LatencyContext | None = None  # no metric: it travels with the two that it belongs to

    @model_validator(mode="before")
    @classmethod
    def _refuse_non_finite(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"{name} is {value}: a metric is a finite number or None (not measured)")
        return values

    @classmethod
    def mean(cls, samples: Sequence[Self]) -> Self:
        """The mean of each metric over one or more `samples`; None if any of them lacks it. Counts are rounded.

        Latencies are averaged over the samples with the context of the first: others are not comparable.
        """
        context = samples[0].latency_context
        alike = [metrics for metrics in samples if metrics.latency_context == context]
        columns = {name: [getattr(each, name) for each in (alike if name in LATENCIES else samples)] for name in METRICS}
        means: dict[str, Any] = {name: _mean(values) for name, values in columns.items() if None not in values}
        return cls(**means, latency_context=context if LATENCY in means else None)

    def merged(self, other: "Metrics") -> Self:
        """These figures with every figure that `other` has measured put in their place."""
        update: dict[str, Any] = dict(other.values())
        if other.latency_ms_p50 is not None:
            update["latency_context"] = other.latency_context
        return self.model_copy(update=update)

    def values(self) -> dict[str, float]:
        """What was measured, by the name of the metric."""
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {name: info for name, field in Metrics.model_fields.items() for info in field.metadata if isinstance(info, MetricInfo)}
)
STATIC = tuple(name for name, info in METRICS.items() if info.static)
LATENCIES = ("latency_ms_p50", "latency_ms_p95")
QUALITY, SIZE, LATENCY = "bits_per_byte", "size_bytes", "latency_ms_p50"  # what a search trades by default; training decides the first


def require_metric(name: str) -> str:
    """`name`, which must be that of a metric.

    Raises:
        ValueError: it is not; the message lists the metrics.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; choose among {', '.join(METRICS)}")
    return name


class TrainingCurve(BaseModel):
    """The losses of a training from one rung to the next, and where and when it ran.

    Attributes:
        worker: the host and the process that trained.
        started: seconds of Unix time; `seconds` later it was stored (or had failed). Scoring comes after that.
        losses: a thinned curve, (step, mean nats per token over the steps since the point before). Of the training batches,
            so it compares only between models of one vocabulary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    worker: str
    started: float
    seconds: float = Field(ge=0)
    losses: tuple[tuple[int, float], ...] = ()


def _six_digits(value: float) -> str:
    """Six significant digits, and all of those before the decimal point."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _mean(values: Sequence[float]) -> float:
    mean = values[0] if len(set(values)) == 1 else fmean(values)
    return round(mean) if isinstance(values[0], int) else mean
