"""What a search job on a cluster is asked to do; a job file (TOML) has exactly these keys."""

from pydantic import BaseModel, ConfigDict, Field

from codenas.search.config import SearchConfig
from codenas.train import TrainConfig


class TrialResources(BaseModel):
    """What one trial takes and how it measures. With GPUs in the cluster a trial takes one; without, `cpus` threads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(1, ge=1, description="CPUs and threads of one trial")
    gpus: float | None = Field(None, ge=0, description="GPUs of one trial; by default one if the cluster has any")
    score_tokens: int = Field(16_384, ge=1, description="validation tokens that a rung is scored on")
    latency_tokens: int = Field(64, ge=1, description="tokens that a latency is measured on")
    retries: int = Field(2, ge=0, description="times that a trial whose process died starts again from its checkpoint")


class SearchJob(SearchConfig):
    """A search and how its trials run."""

    train: TrainConfig = TrainConfig(batch_size=4)
    trial: TrialResources = TrialResources()
