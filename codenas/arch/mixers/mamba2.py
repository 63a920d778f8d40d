"""Mamba-2: its specification and its costs."""

from typing import ClassVar, Literal

from pydantic import Field

from codenas.arch.mixers.base import FLOAT32_BYTES, MixerBase
from codenas.arch.mixers.scan import scan_flops
from codenas.arch.part import Position, Shapes


class MambaSpec(MixerBase):
    """Mamba-2 (Dao and Gu 2024): a state-space layer with one decay per head, a short causal convolution, a gated norm.

    `expand` is the inner width over the model width, `head_width` the channels of one head, `state_width` the size of its memory.
    """

    label: ClassVar[str] = "Mamba-2"
    aliases: ClassVar[tuple[str, ...]] = ("mamba", "ssm")
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
