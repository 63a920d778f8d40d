"""Gated linear attention: its specification and its costs."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from codenas.arch.mixers.base import FLOAT32_BYTES, MixerBase
from codenas.arch.mixers.scan import scan_flops
from codenas.arch.part import Position, Shapes


class LinearAttentionSpec(MixerBase):
    """Gated linear attention with one decay per head and token: constant state, no softmax (Yang et al. 2024, scalar gates).

    Keys and queries are normalised per head; the output is normalised per head and gated. Positions come from the decay.
    """

    label: ClassVar[str] = "linear attention"
    aliases: ClassVar[tuple[str, ...]] = ("lineartransformer",)
    constraints: ClassVar[tuple[str, ...]] = ("n_heads divides d_model",)

    kind: Literal["linear_attention"] = "linear_attention"
    n_heads: int = Field(4, ge=1, le=64)

    @classmethod
    def from_legacy(cls, n_heads: Any, n_kv_heads: Any, window: Any) -> dict[str, Any]:
        """It has as many heads for keys as for queries, and no window."""
        return {"n_heads": n_heads}

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
