"""How a model is trained. Defaults live here, and only here."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from codenas.train.precision import bfloat16_pays


class TrainConfig(BaseModel):
    """The recipe: Muon (or AdamW) for the matrices of the blocks, AdamW for everything else, warm-up then a constant rate.

    The rates are those of four layers of width 256 and transfer over widths and depths (see `codenas.train.optim`). A tail of
    linear decay is added only where the end of training is known (`Trainer.run_to(..., decay_from=...)`); the rungs of a
    search are scored on the moving average of the weights, or on a branch that decays: a state that has decayed cannot be resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size: int = Field(8, ge=1, description="sequences per step")
    micro_batch: int | None = Field(None, ge=1, description="sequences in memory at once; a step adds up their gradients")
    optimizer: Literal["muon", "adamw"] = Field("muon", description="of the matrices of the blocks")
    matrix_rate: float = Field(0.02, gt=0, description="of the matrices under Muon, at 4 layers")
    adam_rate: float = Field(0.002, gt=0, description="of the matrices under AdamW, at a fan-in of 256")
    embedding_rate: float = Field(0.014, gt=0, description="of embeddings, heads and positions, at width 256")
    gain_rate: float = Field(0.01, gt=0, description="of gains, biases, decays and convolutions")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, times the learning rate")
    momentum: float = Field(0.85, ge=0, lt=1, description="of Muon")
    betas: tuple[float, float] = Field((0.5, 0.95), description="of AdamW")
    warmup_steps: int = Field(10, ge=0, description="steps over which the rates rise linearly")
    average_decay: float = Field(0.95, ge=0, lt=1, description="per step, of the moving average that is evaluated and stored")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradients of a step")
    fim_rate: float = Field(0.0, ge=0, le=1, description="share of documents whose middle is moved to their end, to learn to fill gaps")
    fim_spm_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of these that begin with the suffix; with any, endpoints ask so: their cache then holds the suffix",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target's probability that all tokens share")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of matrix products; auto: bfloat16 where it is native")
    compile: bool = Field(False, description="compile the model first: up to minutes, for steps that are some percent shorter")
    cuda_graph: bool = Field(False, description="record a whole step on a GPU once and replay it: faster where models are small")
    seed: int = Field(0, description="of weights and batches; in a search each candidate has its own")

    def on(self, device: str) -> Self:
        """The recipe as it is followed on `device` (of torch): with a precision that is not `auto`."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if bfloat16_pays(device) else "float32"})
