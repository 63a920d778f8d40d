"""Specifications of architectures: frozen, and validated on construction, so that every one of them can be built.

Not part of an architecture: vocabulary size (an argument of `build_model`), device, storage precision; vocabulary and storage
are fields of `codenas.arch.design.Design`.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from codenas.arch.mixers import MixerSpec
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.part import PartSpec, Position, Shapes, Spec

Activation = Literal["gelu", "silu", "relu2", "geglu", "swiglu"]
Norm = Literal["layernorm", "rmsnorm", "groupnorm"]

GATED: frozenset[str] = frozenset({"geglu", "swiglu"})
NORM_GROUPS = 4  # of groupnorm, over the channels of one token: no other token is involved
HIDDEN_MULTIPLE = 8  # feed-forward widths are rounded to it: other widths waste vector lanes and tensor cores


class FeedForwardSpec(PartSpec):
    """Position-wise network. `multiplier` is hidden width over model width; gated kinds have a second input matrix."""

    activation: Activation = "swiglu"
    multiplier: float = Field(8 / 3, gt=0, le=16)

    def hidden_width(self, d_model: int) -> int:
        """Hidden channels, rounded to a multiple of `HIDDEN_MULTIPLE`."""
        return max(HIDDEN_MULTIPLE, round(self.multiplier * d_model / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE)

    def tensors(self, d_model: int) -> Shapes:
        hidden = self.hidden_width(d_model)
        gate: Shapes = {"gate.weight": (hidden, d_model)} if self.activation in GATED else {}
        return {**gate, "up.weight": (hidden, d_model), "down.weight": (d_model, hidden)}


class ArchSpec(Spec):
    """A decoder-only language model without its vocabulary. `pattern` is tiled over the depth.

    `embedding_rank` factorises the embedding (Lan et al. 2020): a table of that width and a matrix that widens it.
    """

    constraints: ClassVar[tuple[str, ...]] = (
        "the pattern is no longer than the layers",
        f"with groupnorm {NORM_GROUPS} divides d_model",
        "embedding_rank is less than d_model",
    )

    d_model: int = Field(256, ge=8, le=8192)
    n_layers: int = Field(4, ge=1, le=128)
    pattern: tuple[MixerSpec, ...] = Field((AttentionSpec(),), min_length=1)
    feedforward: FeedForwardSpec = FeedForwardSpec()
    norm: Norm = "rmsnorm"
    position: Position = "rope"
    context_len: int = Field(256, ge=2)
    tie_embeddings: bool = True
    embedding_rank: int | None = Field(None, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if len(self.pattern) > self.n_layers:
            raise ValueError(f"a pattern of {len(self.pattern)} mixers does not fit {self.n_layers} layers")
        for mixer in self.pattern:
            mixer.check_width(self.d_model, self.position)
        if self.norm == "groupnorm" and self.d_model % NORM_GROUPS:
            raise ValueError(f"groupnorm needs {NORM_GROUPS} equal groups: d_model {self.d_model} does not divide")
        if self.embedding_rank is not None and self.embedding_rank >= self.d_model:
            raise ValueError(f"embedding_rank {self.embedding_rank} is no factorisation of d_model {self.d_model}; leave it out")
        return self

    def layers(self) -> tuple[MixerSpec, ...]:
        """The mixer of every layer, first to last."""
        return tuple(self.pattern[i % len(self.pattern)] for i in range(self.n_layers))
