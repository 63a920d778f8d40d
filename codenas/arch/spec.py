"""What an architecture is. A specification is frozen, checked at birth, and cannot say what no model can be.

Not part of an architecture: vocabulary size (an argument of `build_model`), device, storage precision.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Activation = Literal["gelu", "silu", "relu2", "geglu", "swiglu"]
Norm = Literal["layernorm", "rmsnorm", "groupnorm"]
Position = Literal["rope", "alibi", "absolute", "none"]

GATED: frozenset[str] = frozenset({"geglu", "swiglu"})
NORM_GROUPS = 4  # of groupnorm: the channels of one token in four groups, so that no other token is seen
HIDDEN_MULTIPLE = 8  # feed-forward widths are rounded to it: odd widths waste vector lanes and tensor cores


class Spec(BaseModel):
    """Base of everything that describes an architecture: immutable, no unknown keys, hashable by value."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AttentionSpec(Spec):
    """Softmax attention: multi-head (`n_kv_heads == n_heads`), grouped-query, multi-query (1); global or sliding window.

    `window` counts the positions a token sees, itself included; None sees everything before it.
    `qk_norm` normalises queries and keys per head (Dehghani et al. 2023): high learning rates stay stable.
    """

    kind: Literal["attention"] = "attention"
    n_heads: int = Field(4, ge=1, le=64)
    n_kv_heads: int = Field(4, ge=1, le=64)
    window: int | None = Field(None, ge=1)
    qk_norm: bool = True

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        return self

    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the width."""
        if d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {d_model}")
        if position == "rope" and (d_model // self.n_heads) % 2:
            raise ValueError(f"rope rotates pairs: the head width {d_model // self.n_heads} is odd")

    def head_width(self, d_model: int) -> int:
        """Channels of one head."""
        return d_model // self.n_heads

    def parameters(self, d_model: int) -> int:
        """Parameters of one mixer of width `d_model`."""
        kv_width = self.n_kv_heads * self.head_width(d_model)
        gains = 2 * self.head_width(d_model) if self.qk_norm else 0
        return 2 * d_model * d_model + 2 * d_model * kv_width + gains

    def state_elements(self, d_model: int, tokens: int) -> int:
        """Numbers that the decoding state of one sequence holds after `tokens` tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return 2 * self.n_kv_heads * self.head_width(d_model) * kept


class LinearAttentionSpec(Spec):
    """Gated linear attention with one decay per head and token: constant state, no softmax (Yang et al. 2024, scalar gates).

    Keys and queries are normalised per head; the output is normalised per head and gated. Positions come from the decay.
    """

    kind: Literal["linear_attention"] = "linear_attention"
    n_heads: int = Field(4, ge=1, le=64)

    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the width."""
        if d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {d_model}")

    def head_width(self, d_model: int) -> int:
        """Channels of one head."""
        return d_model // self.n_heads

    def parameters(self, d_model: int) -> int:
        """Parameters of one mixer: query, key, value, gate and output, the decays with their bias, the gain of the norm."""
        return 5 * d_model * d_model + (d_model + 1) * self.n_heads + self.head_width(d_model)

    def state_elements(self, d_model: int, tokens: int) -> int:
        """Numbers that the decoding state of one sequence holds, however many tokens it has had."""
        return self.n_heads * self.head_width(d_model) ** 2


class MambaSpec(Spec):
    """Mamba-2 (Dao and Gu 2024): a state-space layer with one decay per head, a short causal convolution, a gated norm.

    `expand` is the inner width over the model width, `head_width` the channels of one head, `state_width` the size of its memory.
    """

    kind: Literal["mamba2"] = "mamba2"
    expand: int = Field(2, ge=1, le=4)
    head_width: int = Field(64, ge=8, le=256)
    state_width: int = Field(64, ge=8, le=256)
    conv_width: int = Field(4, ge=2, le=8)

    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the inner width."""
        if self.inner_width(d_model) % self.head_width:
            raise ValueError(f"head_width {self.head_width} does not divide the inner width {self.inner_width(d_model)}")

    def inner_width(self, d_model: int) -> int:
        """Channels inside the layer."""
        return self.expand * d_model

    def n_heads(self, d_model: int) -> int:
        """Heads of a layer of width `d_model`."""
        return self.inner_width(d_model) // self.head_width

    def conv_channels(self, d_model: int) -> int:
        """Channels that pass the convolution: values, keys (B) and queries (C); keys and queries are shared by all heads."""
        return self.inner_width(d_model) + 2 * self.state_width

    def parameters(self, d_model: int) -> int:
        """Parameters of one mixer."""
        inner, heads, channels = self.inner_width(d_model), self.n_heads(d_model), self.conv_channels(d_model)
        projections = d_model * (inner + channels + heads) + inner * d_model
        return projections + channels * (self.conv_width + 1) + 3 * heads + inner

    def state_elements(self, d_model: int, tokens: int) -> int:
        """Numbers that the decoding state of one sequence holds, however many tokens it has had."""
        return self.inner_width(d_model) * self.state_width + self.conv_channels(d_model) * (self.conv_width - 1)


class RwkvSpec(Spec):
    """RWKV-7 time mixing (Peng et al. 2025): a matrix state under a generalised delta rule, decays per channel, token shift.

    Left out: the value residual from the first layer, which would tie layers of a hybrid together. `rank` is that of the
    low-rank maps behind decay and in-context rate, `gate_rank` that of the output gate.
    """

    kind: Literal["rwkv7"] = "rwkv7"
    head_width: int = Field(64, ge=8, le=128)
    rank: int = Field(32, ge=1, le=256)
    gate_rank: int = Field(64, ge=1, le=512)

    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the width."""
        if d_model % self.head_width:
            raise ValueError(f"head_width {self.head_width} does not divide d_model {d_model}")

    def n_heads(self, d_model: int) -> int:
        """Heads of a layer of width `d_model`."""
        return d_model // self.head_width

    def parameters(self, d_model: int) -> int:
        """Parameters of one mixer: four square matrices, three low-rank maps, vectors per channel."""
        low_rank = 2 * 2 * d_model * self.rank + 2 * d_model * self.gate_rank
        vectors = (6 + 2 + 3 + 1) * d_model  # token shifts; offsets of decay and rate; key scale, key rate, bonus; norm
        return 4 * d_model * d_model + low_rank + vectors

    def state_elements(self, d_model: int, tokens: int) -> int:
        """Numbers that the decoding state of one sequence holds, however many tokens it has had."""
        return d_model * self.head_width + d_model


# A new mixer joins the union here and brings one file, codenas/model/mixers/<kind>.py: the builder and the contract tests
# find it by its kind, nothing else changes.
MixerSpec = Annotated[AttentionSpec | LinearAttentionSpec | MambaSpec | RwkvSpec, Field(discriminator="kind")]
MIXER_SPECS: tuple[type[Spec], ...] = (AttentionSpec, LinearAttentionSpec, MambaSpec, RwkvSpec)


class FeedForwardSpec(Spec):
    """Position-wise network. `multiplier` is hidden width over model width; gated kinds have a second input matrix."""

    activation: Activation = "swiglu"
    multiplier: float = Field(8 / 3, gt=0, le=16)

    def hidden_width(self, d_model: int) -> int:
        """Hidden channels, rounded to a multiple of `HIDDEN_MULTIPLE`."""
        return max(HIDDEN_MULTIPLE, round(self.multiplier * d_model / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE)

    def parameters(self, d_model: int) -> int:
        """Parameters of one feed-forward network of width `d_model`."""
        matrices = 3 if self.activation in GATED else 2
        return matrices * d_model * self.hidden_width(d_model)


class ArchSpec(Spec):
    """A decoder-only language model without its vocabulary. `pattern` is tiled over the depth.

    `embedding_rank` factorises the embedding (Lan et al. 2020): a table of that width and a matrix that widens it.
    """

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

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name this architecture; equal for equal architectures."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
