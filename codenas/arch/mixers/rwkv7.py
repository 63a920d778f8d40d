"""RWKV-7: its specification and its costs."""

from typing import ClassVar, Literal

from pydantic import Field

from codenas.arch.mixers.base import FLOAT32_BYTES, MixerBase
from codenas.arch.mixers.delta import delta_flops
from codenas.arch.part import Position, Shapes


class RwkvSpec(MixerBase):
    """RWKV-7 time mixing (Peng et al. 2025): a matrix state under a generalised delta rule, decays per channel, token shift.

    Left out: the value residual from the first layer, which would tie layers of a hybrid together. `rank` is that of the
    low-rank maps behind decay and in-context rate, `gate_rank` that of the output gate.
    """

    label: ClassVar[str] = "RWKV-7"
    aliases: ClassVar[tuple[str, ...]] = ("rwkv",)
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
