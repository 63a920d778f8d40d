"""Metrics of a design before it is built: closed forms, and a lower bound of its latency on a calibrated device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from codenas.arch.cost import body_parameters, parameters, stored_bytes
from codenas.arch.design import Design
from codenas.arch.storage import BITS
from codenas.metrics import LATENCY, Metrics

CAPACITY = "body_params"  # parameters of the layers, without embedding and head: the best predictor of quality before training

MinLatency = Callable[[Design, int], float]  # of a design and a vocabulary size, in ms per token


@dataclass(slots=True, frozen=True)
class VocabularySize:
    """The size of a vocabulary: its ids, and the bytes that it takes beside the weights of every model that uses it."""

    ids: int
    stored_bytes: int = 0


def closed_form(design: Design, vocabulary: VocabularySize) -> Metrics:
    """The metrics with a closed form: stored parameters, and the bytes of weights and vocabulary."""
    arch, ids = design.stored_arch, vocabulary.ids
    return Metrics(params=parameters(arch, ids), size_bytes=stored_bytes(arch, ids, design.storage) + vocabulary.stored_bytes)


@dataclass(slots=True, frozen=True)
class StaticMetrics:
    """Static metrics of the designs of one search.

    Attributes:
        own: the corpus's own vocabulary; `named` are the others that designs may use.
        min_latency_ms: a lower bound of the latency; None without a calibrated device.
    """

    own: VocabularySize
    named: Mapping[str, VocabularySize] = field(default_factory=dict)
    min_latency_ms: MinLatency | None = None

    def vocabulary(self, design: Design) -> VocabularySize:
        """The size of the vocabulary of `design`."""
        return self.own if design.vocabulary is None else self.named[design.vocabulary]

    def counted(self, design: Design) -> Metrics:
        """See `closed_form`."""
        return closed_form(design, self.vocabulary(design))

    def latency_bound(self, design: Design) -> float | None:
        """A lower bound of the latency of the stored model, in ms per token; None without a calibration."""
        return None if self.min_latency_ms is None else self.min_latency_ms(design, self.vocabulary(design).ids)

    def figures(self, design: Design) -> dict[str, float]:
        """All static metrics by name, with the capacity, as strategies observe them."""
        figures = {name: float(value) for name, value in self.counted(design).values().items()}
        figures[CAPACITY] = float(body_parameters(design.stored_arch))
        bound = self.latency_bound(design)
        return figures if bound is None else figures | {LATENCY: bound}

    def trained_parameters(self, design: Design) -> int:
        """Trained parameters, to which the time of a step is roughly proportional."""
        return parameters(design.arch, self.vocabulary(design).ids)

    def stored_parameters(self, design: Design) -> int:
        """Stored parameters, after pruning."""
        return parameters(design.stored_arch, self.vocabulary(design).ids)

    def estimated_bytes(self, design: Design) -> float:
        """An estimate of the stored size without scales and names, ten times as fast as the exact count and within a few percent."""
        return self.stored_parameters(design) * BITS[design.storage] / 8 + self.vocabulary(design).stored_bytes
