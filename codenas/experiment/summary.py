"""The results of a run, as `summary.json`."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from codenas.arch import ArchSpec, Design
from codenas.arch.storage import Storage
from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus
from codenas.corpus.manifest import SplitInfo, Tally
from codenas.evaluate.evaluation import Evaluation
from codenas.experiment.run import Run
from codenas.metrics import Metrics
from codenas.search.result import SearchResult


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(_Part):
    """One completion over HTTP; `seconds` from sending the request to the last byte of the response."""

    prompt: str
    completion: str
    tokens: int
    seconds: float


class FrontMember(_Part):
    """One design on the Pareto front, after `rung` steps: metrics averaged over its seeds, and the bits per byte of each."""

    id: str
    design: Design
    metrics: Metrics
    rung: int
    winner: bool
    scores: tuple[float, ...] = ()


class CorpusFacts(_Part):
    """The corpus on which the models were trained and scored."""

    digest: str
    source: str
    vocab_size: int
    splits: dict[str, SplitInfo]
    drops: dict[str, Tally]


class ModelFacts(_Part):
    """The stored winner, with the metrics of its evaluation."""

    path: str
    arch: ArchSpec
    storage: Storage
    vocabulary: str | None
    step: int
    metrics: Metrics


class Summary(_Part):
    """All results of a run. Seconds and memory are those of the session that finished it."""

    schema_version: Literal[1] = 1
    corpus: CorpusFacts
    search: SearchResult
    front: tuple[FrontMember, ...]
    model: ModelFacts
    evaluation: Evaluation
    answers: tuple[Answer, ...]
    stage_seconds: dict[str, float]
    peak_memory_bytes: int
    serve_again: str


@dataclass(slots=True, frozen=True)
class Findings:
    """The results of the stages of a run."""

    corpus: Corpus
    result: SearchResult
    front: tuple[FrontMember, ...]
    checkpoint: Checkpoint
    evaluation: Evaluation
    answers: tuple[Answer, ...]


def summarise(run: Run, found: Findings, seconds: dict[str, float], peak_memory_bytes: int, port: int) -> Summary:
    """The summary of a run."""
    manifest, trained = found.corpus.manifest, found.checkpoint.manifest
    return Summary(
        corpus=CorpusFacts(
            digest=manifest.digest, source=manifest.source, vocab_size=manifest.vocab_size, splits=manifest.splits, drops=manifest.drops
        ),
        search=found.result,
        front=found.front,
        model=ModelFacts(
            path=str(found.checkpoint.path.relative_to(run.folder)),
            arch=trained.arch,
            storage=trained.storage,
            vocabulary=trained.vocabulary,
            step=trained.step,
            metrics=found.evaluation.metrics,
        ),
        evaluation=found.evaluation,
        answers=found.answers,
        stage_seconds=seconds,
        peak_memory_bytes=peak_memory_bytes,
        serve_again=f"codenas serve --run {run.folder} --port {port}",
    )
