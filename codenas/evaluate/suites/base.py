"""Evaluation suites: each measures one property of a stored model. Results are cached by what they depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus, Tokens
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Row, SuiteSummary
from codenas.metrics import Metrics
from codenas.model import LanguageModel
from codenas.vocab import Vocabulary


class SuiteResult(BaseModel):
    """Base class of the results of suites. What views need of a result, it gives itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def rows(self) -> tuple[Row, ...]:
        """The result as lines of a table."""
        return ()

    def measured(self) -> Metrics:
        """The metrics of the model that the result has."""
        return Metrics()

    def distrust(self) -> tuple[str, ...]:
        """Reasons to distrust the result, as warnings."""
        return ()

    def summary(self) -> SuiteSummary:
        """The result as a joined evaluation stores it."""
        return SuiteSummary(rows=self.rows(), warnings=self.distrust(), result=self.model_dump(mode="json"))


Result = TypeVar("Result", bound=SuiteResult)


@dataclass(frozen=True)  # without slots: the cached properties live in its __dict__
class EvaluationSubject:
    """A stored model and the held-out text to evaluate it on. The model is loaded on first use.

    Attributes:
        corpus: tokenised with the vocabulary of the model.
        device: torch device, never `auto`.
    """

    checkpoint: Checkpoint
    corpus: Corpus
    settings: EvaluationSettings
    device: str = "cpu"

    @cached_property
    def model(self) -> LanguageModel:
        """The stored model, ready to decode."""
        return self.checkpoint.load_model(self.device)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model."""
        return self.checkpoint.load_vocabulary()

    @property
    def held_out(self) -> Tokens:
        """The tokens of the split that is evaluated on."""
        return self.corpus.split(self.settings.split)


@dataclass(slots=True, frozen=True)
class Suite(Generic[Result]):
    """One measurement of a model.

    Attributes:
        name: name of the suite and of its result file.
        result: type of the result of `run`.
        depends_on: the fields of `EvaluationSettings` that change the result.
        run: runs the suite; can take minutes.
        place: what else the result depends on, such as the device of a latency.
    """

    name: str
    result: type[Result]
    depends_on: tuple[str, ...]
    run: Callable[[EvaluationSubject], Result]
    place: Callable[[EvaluationSubject], str] = lambda subject: ""
