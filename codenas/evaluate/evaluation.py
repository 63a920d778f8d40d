"""The joined result of an evaluation, as it is stored and shown. It knows no suite, so that a new one is shown everywhere."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.evaluate.config import EvaluationSettings
from codenas.metrics import Metrics


class Row(BaseModel):
    """One line of a table: the model beside what it is compared with, with units. A heading has no value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: str = ""
    reference: str = ""


class SuiteSummary(BaseModel):
    """What one suite found.

    Attributes:
        rows: for tables.
        warnings: reasons to distrust the result.
        result: the fields of the suite's own result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    result: dict[str, Any] = {}


class Evaluation(BaseModel):
    """The joined result of all suites, by the name of the suite; `metrics` are those of the checkpoint and of the suites."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = 2
    settings: EvaluationSettings
    weights_sha256: str
    corpus_digest: str
    metrics: Metrics
    results: dict[str, SuiteSummary]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all suites."""
        return tuple(warning for summary in self.results.values() for warning in summary.warnings)


def stored_evaluation(path: Path) -> Evaluation | None:
    """The evaluation stored at `path`; None where there is none, or one of another version: `codenas.evaluate.legacy` reads those."""
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
