"""What is known of a design before it is built: what is counted, and a lower bound of its latency on a calibrated device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from codenas.arch.cost import body_parameters, parameters, stored_bytes
from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import BITS
from codenas.metrics import LATENCY, Metrics

CAPACITY = "body_params"  # parameters of the layers, without embedding and head: what quality follows, before training

MinLatency = Callable[[ArchSpec, int], float]  # of an architecture and a vocabulary size, in ms per token


@dataclass(slots=True, frozen=True)
class VocabularySize:
    """What a vocabulary costs: its ids, and the bytes that it takes beside the weights of every model that reads it."""

    ids: int
    stored_bytes: int = 0


def closed_form(design: Design, vocabulary: VocabularySize) -> Metrics:
    """The metrics that are counted without building `design`: stored parameters, and the bytes of weights and vocabulary."""
    arch, ids = design.stored_arch, vocabulary.ids
    return Metrics(params=parameters(arch, ids), size_bytes=stored_bytes(arch, ids, design.storage) + vocabulary.stored_bytes)


@dataclass(slots=True, frozen=True)
class StaticMetrics:
    """Static metrics of the designs of one search.

    Attributes:
        own: the corpus's own vocabulary; `named` are the others that designs may read.
        min_latency_ms: a lower bound of the latency; None where no device is calibrated.
    """

    own: VocabularySize
    named: Mapping[str, VocabularySize] = field(default_factory=dict)
    min_latency_ms: MinLatency | None = None

    def vocabulary(self, design: Design) -> VocabularySize:
        """The size of the vocabulary that `design` reads."""
        return self.own if design.vocabulary is None else self.named[design.vocabulary]

    def counted(self, design: Design) -> Metrics:
        """See `closed_form`."""
        return closed_form(design, self.vocabulary(design))

    def latency_bound(self, design: Design) -> float | None:
        """The lower bound of the latency of what is stored, in ms per token; None without a calibration."""
        return None if self.min_latency_ms is None else self.min_latency_ms(design.stored_arch, self.vocabulary(design).ids)

    def figures(self, design: Design) -> dict[str, float]:
        """All of it by name, the capacity included, as strategies are shown it."""
        figures = {name: float(value) for name, value in self.counted(design).values().items()}
        figures[CAPACITY] = float(body_parameters(design.stored_arch))
        bound = self.latency_bound(design)
        return figures if bound is None else figures | {LATENCY: bound}

    def trained_parameters(self, design: Design) -> int:
        """Parameters in training: about how long a step takes."""
        return parameters(design.arch, self.vocabulary(design).ids)

    def stored_parameters(self, design: Design) -> int:
        """Parameters that are stored."""
        return parameters(design.stored_arch, self.vocabulary(design).ids)

    def estimated_bytes(self, design: Design) -> float:
        """The stored size without scales and names, within some percent: ten times as fast as counting the bytes exactly."""
        return self.stored_parameters(design) * BITS[design.storage] / 8 + self.vocabulary(design).stored_bytes
