"""Softmax attention: its specification and its costs."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from codenas.arch.mixers.base import MixerBase
from codenas.arch.part import Position, Shapes

ATTENTION_BLOCK = 128  # queries; smaller ones cut the products too thin for the cores
LONGEST_IN_BLOCKS = 1024  # tokens; the weights of all blocks are kept for the backward pass, and grow with the square


class AttentionSpec(MixerBase):
    """Softmax attention: multi-head (`n_kv_heads == n_heads`), grouped-query, multi-query (1); global or sliding window.

    `window` counts the positions a token sees, itself included; None sees everything before it.
    `qk_norm` normalises queries and keys per head (Dehghani et al. 2023): high learning rates stay stable.
    """

    label: ClassVar[str] = "attention"
    aliases: ClassVar[tuple[str, ...]] = ("transformer",)
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

    @classmethod
    def from_legacy(cls, n_heads: Any, n_kv_heads: Any, window: Any) -> dict[str, Any]:
        """The old attention did not normalise queries and keys."""
        return {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "window": window, "qk_norm": False}

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

    def timed_operations(self, position: Position) -> tuple[str, ...]:
        return {"rope": ("rotary embeddings",), "alibi": ("ALiBi biases",)}.get(position, ())

    def _kept(self, tokens: int) -> int:
        return tokens if self.window is None else min(tokens, self.window)


def attention_flops(tokens: int, width: int, window: int) -> int:
    """FLOPs of scores and weighted sums in blocks of queries; of longer sequences, the whole square: there the mask saves no work."""
    if tokens > LONGEST_IN_BLOCKS:
        return 2 * 2 * tokens * tokens * width
    starts = range(0, tokens, ATTENTION_BLOCK)
    blocks = [(start, min(start + ATTENTION_BLOCK, tokens)) for start in starts]
    return sum(2 * 2 * (stop - start) * (stop - first_seen(start, window)) * width for start, stop in blocks)


def first_seen(start: int, window: int) -> int:
    """The first key that a block of queries from `start` on may see."""
    return max(0, start - window + 1)
