"""The settings that all trainings of a search share."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from codenas.processes import MAX_THREADS
from codenas.search.candidate import Candidate
from codenas.search.fitness import Objective
from codenas.train.config import TrainConfig


class ExperimentSetup(BaseModel):
    """Everything that a training needs apart from its candidate. `threads` affects the result: the order of sums depends on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Path
    folder: Path
    train: TrainConfig = TrainConfig()
    objectives: tuple[Objective, ...] = ()
    score_tokens: int = Field(16_384, ge=1, description="validation tokens, in the corpus's own vocabulary, that a rung is scored on")
    scoring_steps: dict[int, int] = Field({}, description="steps of the scoring branch by rung; rungs without one are left out")
    latency_tokens: int = Field(64, ge=1)
    threads: int = Field(1, ge=1, le=MAX_THREADS)
    device: str = Field("cpu", description="of torch; `auto` is a GPU where there is one, `cuda` the GPU that the process was given")
    latency_device: str = Field("cpu", description="of torch, that latencies are measured on")

    def checkpoint(self, candidate: Candidate, rung: int) -> Path:
        """The folder of the checkpoint of `candidate` at `rung`."""
        return self.folder / candidate.id / str(rung)
