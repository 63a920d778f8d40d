"""What an architecture is. A specification is frozen, checked at birth, and cannot say what no model can be.

Not part of an architecture: vocabulary size (an argument of `build_model`), device, storage precision; the two that a search
may choose as well are beside it in a `codenas.arch.design.Design`.
"""

import hashlib
import json
import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from codenas.arch.chunks import attention_flops, delta_flops, scan_flops

Activation = Literal["gelu", "silu", "relu2", "geglu", "swiglu"]
Norm = Literal["layernorm", "rmsnorm", "groupnorm"]
Position = Literal["rope", "alibi", "absolute", "none"]
Shapes = dict[str, tuple[int, ...]]  # of the tensors of a module, by their names inside it

GATED: frozenset[str] = frozenset({"geglu", "swiglu"})
NORM_GROUPS = 4  # of groupnorm: the channels of one token in four groups, so that no other token is seen
HIDDEN_MULTIPLE = 8  # feed-forward widths are rounded to it: odd widths waste vector lanes and tensor cores
FLOAT32_BYTES = 4


class Spec(BaseModel):
    """Base of everything that describes an architecture: immutable, no unknown keys, hashable by value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name what this describes; equal for equal values."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class PartSpec(Spec):
    """A part of a layer that has weights. What it costs follows from their shapes."""

    @abstractmethod
    def tensors(self, d_model: int) -> Shapes:
        """The shape of every weight; the modules of the model have exactly these. Two dimensions are a matrix, [out, in]."""

    def parameters(self, d_model: int) -> int:
        """Numbers in all weights."""
        return sum(math.prod(shape) for shape in self.tensors(d_model).values())

    def weight_flops(self, d_model: int) -> int:
        """FLOPs per token of the products with the matrices: two per multiply-add."""
        return 2 * sum(math.prod(shape) for shape in self.tensors(d_model).values() if len(shape) == 2)


class MixerBase(PartSpec):
    """What every mixer says of itself. FLOPs are those of matrix products and convolutions as the module does them, two per
    multiply-add; work per element (norms, gates, decays, rank-one updates) is left out, as `FlopCounterMode` does.

    Attributes:
        label: the name of the family in tables and pictures.
        constraints: what `check_width` and validation refuse, in words.
    """

    label: ClassVar[str]
    constraints: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def summary(self) -> str:
        """The label and the fields that tell mixers of the family apart, in a few words: a cell of a table."""

    @abstractmethod
    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the width."""

    @abstractmethod
    def mixing_flops(self, d_model: int, tokens: int) -> int:
        """FLOPs in which `tokens` tokens, read at once from the beginning, meet; `weight_flops` come on top."""

    @abstractmethod
    def step_flops(self, d_model: int, cached: int) -> int:
        """FLOPs in which one more token meets the `cached` tokens before it; `weight_flops` come on top."""

    @abstractmethod
    def state_elements(self, d_model: int, tokens: int) -> int:
        """Numbers that the decoding state of one sequence holds after `tokens` tokens."""

    @abstractmethod
    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        """Bytes of these numbers where activations take `element_bytes` each; recurrent memories never take less than four."""


class AttentionSpec(MixerBase):
    """Softmax attention: multi-head (`n_kv_heads == n_heads`), grouped-query, multi-query (1); global or sliding window.

    `window` counts the positions a token sees, itself included; None sees everything before it.
    `qk_norm` normalises queries and keys per head (Dehghani et al. 2023): high learning rates stay stable.
    """

    label: ClassVar[str] = "attention"
    constraints: ClassVar[tuple[str, ...]] = ("n_kv_heads divides n_heads", "n_heads divides d_model", "with rope the head width is even")

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

    def summary(self) -> str:
        """Query heads over key-value heads, and the window."""
        heads = f"{self.label} {self.n_heads}/{self.n_kv_heads}"
        return heads if self.window is None else f"{heads}, window {self.window}"

    def check_width(self, d_model: int, position: Position) -> None:
        if d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {d_model}")
        if position == "rope" and (d_model // self.n_heads) % 2:
            raise ValueError(f"rope rotates pairs: the head width {d_model // self.n_heads} is odd")

    def head_width(self, d_model: int) -> int:
        """Channels of one head."""
        return d_model // self.n_heads

    def tensors(self, d_model: int) -> Shapes:
        head, kv_width = self.head_width(d_model), self.n_kv_heads * self.head_width(d_model)
        square, narrow = (d_model, d_model), (kv_width, d_model)
        gains: Shapes = {"query_gain": (head,), "key_gain": (head,)} if self.qk_norm else {}
        return {"query.weight": square, "key.weight": narrow, "value.weight": narrow, "output.weight": square, **gains}

    def mixing_flops(self, d_model: int, tokens: int) -> int:
        return attention_flops(tokens, d_model, self.window or tokens)

    def step_flops(self, d_model: int, cached: int) -> int:
        return 2 * 2 * self._kept(cached + 1) * d_model

    def state_elements(self, d_model: int, tokens: int) -> int:
        return 2 * self.n_kv_heads * self.head_width(d_model) * self._kept(tokens)

    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        return element_bytes * self.state_elements(d_model, tokens)

    def _kept(self, tokens: int) -> int:
        return tokens if self.window is None else min(tokens, self.window)


class LinearAttentionSpec(MixerBase):
    """Gated linear attention with one decay per head and token: constant state, no softmax (Yang et al. 2024, scalar gates).

    Keys and queries are normalised per head; the output is normalised per head and gated. Positions come from the decay.
    """

    label: ClassVar[str] = "linear attention"
    constraints: ClassVar[tuple[str, ...]] = ("n_heads divides d_model",)

    kind: Literal["linear_attention"] = "linear_attention"
    n_heads: int = Field(4, ge=1, le=64)

    def summary(self) -> str:
        return f"{self.label} {self.n_heads}"

    def check_width(self, d_model: int, position: Position) -> None:
        if d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {d_model}")

    def head_width(self, d_model: int) -> int:
        """Channels of one head."""
        return d_model // self.n_heads

    def tensors(self, d_model: int) -> Shapes:
        square = {f"{name}.weight": (d_model, d_model) for name in ("query", "key", "value", "gate", "output")}
        return {
            **square,
            "decay.weight": (self.n_heads, d_model),
            "decay_bias": (self.n_heads,),
            "norm_gain": (self.head_width(d_model),),
        }

    def mixing_flops(self, d_model: int, tokens: int) -> int:
        head = self.head_width(d_model)
        return scan_flops(tokens, self.n_heads, self.n_heads, head, head)

    def step_flops(self, d_model: int, cached: int) -> int:
        return 2 * self.state_elements(d_model, cached)

    def state_elements(self, d_model: int, tokens: int) -> int:
        return self.n_heads * self.head_width(d_model) ** 2

    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        return max(FLOAT32_BYTES, element_bytes) * self.state_elements(d_model, tokens)


class MambaSpec(MixerBase):
    """Mamba-2 (Dao and Gu 2024): a state-space layer with one decay per head, a short causal convolution, a gated norm.

    `expand` is the inner width over the model width, `head_width` the channels of one head, `state_width` the size of its memory.
    """

    label: ClassVar[str] = "Mamba-2"
    constraints: ClassVar[tuple[str, ...]] = ("head_width divides expand x d_model",)

    kind: Literal["mamba2"] = "mamba2"
    expand: int = Field(2, ge=1, le=4)
    head_width: int = Field(64, ge=8, le=256)
    state_width: int = Field(64, ge=8, le=256)
    conv_width: int = Field(4, ge=2, le=8)

    def summary(self) -> str:
        return f"{self.label} x{self.expand}, state {self.state_width}"

    def check_width(self, d_model: int, position: Position) -> None:
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

    def tensors(self, d_model: int) -> Shapes:
        inner, heads, channels = self.inner_width(d_model), self.n_heads(d_model), self.conv_channels(d_model)
        return {
            "value.weight": (inner, d_model),
            "key.weight": (self.state_width, d_model),
            "query.weight": (self.state_width, d_model),
            "gate.weight": (inner, d_model),
            "step.weight": (heads, d_model),
            "step_bias": (heads,),
            "log_rate": (heads,),
            "skip": (heads,),
            "taps": (channels, 1, self.conv_width),
            "taps_bias": (channels,),
            "norm_gain": (inner,),
            "output.weight": (d_model, inner),
        }

    def mixing_flops(self, d_model: int, tokens: int) -> int:
        convolution = 2 * tokens * self.conv_channels(d_model) * self.conv_width
        return convolution + scan_flops(tokens, self.n_heads(d_model), 1, self.state_width, self.head_width)

    def step_flops(self, d_model: int, cached: int) -> int:
        return 2 * self._memory(d_model)

    def state_elements(self, d_model: int, tokens: int) -> int:
        return self._memory(d_model) + self._recent(d_model)

    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        return max(FLOAT32_BYTES, element_bytes) * self._memory(d_model) + element_bytes * self._recent(d_model)

    def _memory(self, d_model: int) -> int:
        return self.inner_width(d_model) * self.state_width

    def _recent(self, d_model: int) -> int:
        return self.conv_channels(d_model) * (self.conv_width - 1)


class RwkvSpec(MixerBase):
    """RWKV-7 time mixing (Peng et al. 2025): a matrix state under a generalised delta rule, decays per channel, token shift.

    Left out: the value residual from the first layer, which would tie layers of a hybrid together. `rank` is that of the
    low-rank maps behind decay and in-context rate, `gate_rank` that of the output gate.
    """

    label: ClassVar[str] = "RWKV-7"
    constraints: ClassVar[tuple[str, ...]] = ("head_width divides d_model",)

    kind: Literal["rwkv7"] = "rwkv7"
    head_width: int = Field(64, ge=8, le=128)
    rank: int = Field(32, ge=1, le=256)
    gate_rank: int = Field(64, ge=1, le=512)

    def summary(self) -> str:
        return f"{self.label} heads of {self.head_width}"

    def check_width(self, d_model: int, position: Position) -> None:
        if d_model % self.head_width:
            raise ValueError(f"head_width {self.head_width} does not divide d_model {d_model}")

    def n_heads(self, d_model: int) -> int:
        """Heads of a layer of width `d_model`."""
        return d_model // self.head_width

    def tensors(self, d_model: int) -> Shapes:
        square = {f"{name}.weight": (d_model, d_model) for name in ("receptance", "key", "value", "output")}
        ranks = {"decay": self.rank, "rate": self.rank, "gate": self.gate_rank}
        down = {f"{name}.0.weight": (rank, d_model) for name, rank in ranks.items()}
        up = {f"{name}.2.weight": (d_model, rank) for name, rank in ranks.items()}
        vectors = ("decay_offset", "rate_offset", "removal_gain", "key_rate", "bonus", "norm_gain")
        return {**square, **down, **up, "shift": (6 * d_model,), **{name: (d_model,) for name in vectors}}

    def mixing_flops(self, d_model: int, tokens: int) -> int:
        return delta_flops(tokens, self.n_heads(d_model), self.head_width)

    def step_flops(self, d_model: int, cached: int) -> int:
        """The removal reads the memory, and the query does."""
        return 2 * 2 * d_model * self.head_width

    def state_elements(self, d_model: int, tokens: int) -> int:
        return d_model * self.head_width + d_model

    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        return max(FLOAT32_BYTES, element_bytes) * d_model * self.head_width + element_bytes * d_model


# A new mixer joins the union here and brings one file, codenas/model/mixers/<kind>.py: the builder and the contract tests
# find it by its kind, nothing else changes.
MixerSpec = Annotated[AttentionSpec | LinearAttentionSpec | MambaSpec | RwkvSpec, Field(discriminator="kind")]
MIXER_SPECS: tuple[type[MixerBase], ...] = (AttentionSpec, LinearAttentionSpec, MambaSpec, RwkvSpec)


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
