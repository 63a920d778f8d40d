"""A measurement of a stored model. What its metrics are called, and when they are known, is their `MetricInfo`'s business."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from codenas.checkpoint import Checkpoint
from codenas.corpus import Tokens
from codenas.metrics import METRICS, Known, Metrics
from codenas.model import LanguageModel
from codenas.vocab import Vocabulary


@dataclass(frozen=True)  # without slots: the cached properties live in its __dict__
class MeasurementSubject:
    """A stored model and how it is measured. The model is loaded on first use.

    Attributes:
        held_out: tokens that it was not trained on, in its vocabulary.
        device: torch device, never `auto`.
        score_tokens: held-out tokens that quality is measured on.
        latency_tokens: tokens that are decoded to measure a latency.
        precision: of the arithmetic that quality is measured in.
    """

    checkpoint: Checkpoint
    held_out: Tokens
    device: str
    score_tokens: int
    latency_tokens: int
    precision: str = "float32"

    @cached_property
    def model(self) -> LanguageModel:
        """The stored model, ready to decode."""
        return self.checkpoint.load_model(self.device)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model."""
        return self.checkpoint.load_vocabulary()


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement.

    Attributes:
        metrics: the names of the metrics that it measures, all of them known at the same time.
        measure: measures them.
        description: what was done, for the failure of a candidate: "memory ran out while ...".

    Raises:
        ValueError: the metrics become known at different times.
    """

    metrics: tuple[str, ...]
    measure: Callable[[MeasurementSubject], Metrics]
    description: str

    def __post_init__(self) -> None:
        if len({METRICS[name].known for name in self.metrics}) != 1:
            raise ValueError(f"the metrics {', '.join(self.metrics)} of one measurement must be known at the same time")

    @property
    def known(self) -> Known:
        """When its metrics are known."""
        return METRICS[self.metrics[0]].known

    def is_missing(self, metrics: Metrics) -> bool:
        """Whether one of its metrics is not measured in `metrics`."""
        return any(getattr(metrics, name) is None for name in self.metrics)
