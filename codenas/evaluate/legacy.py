"""Evaluations of earlier versions, which knew three suites and stored their figures side by side."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from codenas.evaluate.collapse import CollapseReport
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Evaluation
from codenas.evaluate.suites.base import SuiteResult
from codenas.evaluate.suites.bits_per_byte import BitsPerByteResult
from codenas.evaluate.suites.completions import CompletionsResult
from codenas.evaluate.suites.latency import LatencyResult
from codenas.metrics import Metrics


class _Version1(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    settings: EvaluationSettings
    weights_sha256: str
    corpus_digest: str
    metrics: Metrics
    tokens: int
    bytes: int
    context_len: int
    compressors: dict[str, float]
    completions: CollapseReport
    warnings: tuple[str, ...]


def evaluation_of_version_1(content: bytes) -> Evaluation:
    """The evaluation in a file of schema version 1.

    Raises:
        ValidationError: it is none.
    """
    old = _Version1.model_validate_json(content)
    quality: dict[str, Any] = old.model_dump(include={"tokens", "bytes", "context_len", "compressors", "warnings"})
    results: dict[str, SuiteResult] = {
        "bits_per_byte": BitsPerByteResult(bits_per_byte=old.metrics.bits_per_byte or 0.0, **quality),
        "completions": CompletionsResult(completions=old.completions),
        "latency": LatencyResult(metrics=old.metrics),
    }
    return Evaluation(
        settings=old.settings,
        weights_sha256=old.weights_sha256,
        corpus_digest=old.corpus_digest,
        metrics=old.metrics,
        results={name: result.summary() for name, result in results.items()},
    )
