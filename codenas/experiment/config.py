"""What training the candidates of a search needs beside a candidate."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from codenas.search.candidate import Candidate
from codenas.search.fitness import Objective
from codenas.train.config import TrainConfig


class ExperimentSetup(BaseModel):
    """All that training a candidate needs beside the candidate. `threads` is part of the result: sums depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Path
    folder: Path
    train: TrainConfig = TrainConfig()
    objectives: tuple[Objective, ...] = ()
    score_tokens: int = Field(16_384, ge=1, description="validation tokens, in the corpus's own vocabulary, that a rung is scored on")
    scoring_steps: dict[int, int] = Field({}, description="steps of the scoring branch at a rung; none at one that is not named")
    latency_tokens: int = Field(64, ge=1)
    threads: int = Field(1, ge=1)
    device: str = Field("cpu", description="of torch; `auto` is a GPU where there is one")

    def checkpoint(self, candidate: Candidate, rung: int) -> Path:
        """Where `candidate` is stored at `rung`."""
        return self.folder / candidate.id / str(rung)
