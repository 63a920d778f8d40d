"""What was measured of one model, and how its training went. A number is measured or absent (None), and its unit is in its name."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator


class Metrics(BaseModel):
    """Figures of one model at one point of its training; None means that nobody has measured it (yet).

    A non-finite number is refused: a model that yields one is a failed trial, not a trial with a metric.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bits_per_byte: NonNegativeFloat | None = None  # on held-out text, over its raw bytes
    params: PositiveInt | None = None
    size_bytes: PositiveInt | None = None  # of the stored artefact
    latency_ms_p50: NonNegativeFloat | None = None  # per token of cached decoding
    latency_ms_p95: NonNegativeFloat | None = None
    tokens_per_second: NonNegativeFloat | None = None  # while training
    peak_memory_bytes: PositiveInt | None = None
    train_tokens: NonNegativeInt | None = None
    train_seconds: NonNegativeFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_non_finite(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"{name} is {value}: a metric is a finite number or None (not measured)")
        return values

    @classmethod
    def mean(cls, everyone: Sequence[Self]) -> Self:
        """The mean of each figure over `everyone`, at least one; None where somebody lacks it. Counts are rounded."""
        columns = {name: [getattr(metrics, name) for metrics in everyone] for name in cls.model_fields}
        return cls(**{name: _mean(values) for name, values in columns.items() if None not in values})

    def merged(self, other: "Metrics") -> Self:
        """These figures with every figure that `other` has measured put in their place."""
        return self.model_copy(update=other.model_dump(exclude_none=True))


class Course(BaseModel):
    """How a training went, from one rung to the next.

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


def _mean(values: Sequence[float]) -> float:
    mean = values[0] if len(set(values)) == 1 else fmean(values)
    return round(mean) if isinstance(values[0], int) else mean
