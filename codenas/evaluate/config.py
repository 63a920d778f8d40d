"""Settings of an evaluation."""

from pydantic import BaseModel, ConfigDict, Field

from codenas.processes import MAX_THREADS


class EvaluationSettings(BaseModel):
    """Settings of an evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    split: str = Field("test", description="held-out split of the corpus")
    tokens: int = Field(131_072, ge=1, description="held-out tokens that bits per byte are measured on, spread over the split")
    prompts: int = Field(20, ge=1, description="number of prompts to complete")
    prompt_tokens: int = Field(96, ge=1, description="tokens of each prompt, at most what the context leaves")
    completion_tokens: int = Field(96, ge=8, description="tokens of each completion, at most half of the context")
    temperature: float = Field(0.8, ge=0, le=2, description="sampling temperature of the completions")
    device: str = Field("auto", description="torch device; auto: a GPU if there is one")
    latency_tokens: int = Field(128, ge=1, description="tokens decoded to measure latency")
    latency_threads: int = Field(1, ge=1, le=MAX_THREADS, description="torch threads of the latency measurement")
    seed: int = Field(0, description="random seed of prompts and completions")
