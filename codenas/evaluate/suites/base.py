"""What a suite is, and what it is given. A suite measures one thing of a stored model; its result is cached by what it depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus, Tokens
from codenas.evaluate.config import EvaluationSettings
from codenas.model import LanguageModel
from codenas.vocab import Vocabulary


class SuiteResult(BaseModel):
    """Base of what a suite finds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Result = TypeVar("Result", bound=SuiteResult)


@dataclass(frozen=True)  # without slots: the cached properties live in its __dict__
class Subject:
    """What is evaluated: a stored model on the held-out text of its corpus. The model is loaded when a suite first asks for it.

    Attributes:
        corpus: in the vocabulary of the model.
        device: of torch, resolved.
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
        """That of the model."""
        return self.checkpoint.load_vocabulary()

    @property
    def held_out(self) -> Tokens:
        """The tokens of the split that is evaluated on."""
        return self.corpus.split(self.settings.split)


@dataclass(slots=True, frozen=True)
class Suite(Generic[Result]):
    """One measurement of a model.

    Attributes:
        name: of the suite and of its file.
        result: the type of what `run` finds.
        depends_on: the fields of `EvaluationSettings` that change the result.
        run: measures; may take minutes.
        place: what else the result depends on, such as the device of a latency.
    """

    name: str
    result: type[Result]
    depends_on: tuple[str, ...]
    run: Callable[[Subject], Result]
    place: Callable[[Subject], str] = lambda subject: ""
