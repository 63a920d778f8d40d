"""Mamba-2 (Dao and Gu 2024): a short causal convolution, a linear recurrence whose heads share keys and queries, a gated norm."""

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers.base import Mixer, MixerState
from codenas.model.mixers.convolution import convolve
from codenas.model.mixers.scan import RecurrentState, precise, scan
from codenas.model.norms import rms_norm
from codenas.model.positions import Positions

SHORTEST_STEP, LONGEST_STEP = 0.001, 0.1  # of a new head; times a rate below, it gives memory lengths from 1,000 tokens to one
SLOWEST_RATE, FASTEST_RATE = 1.0, 16.0
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(slots=True)
class MambaState(MixerState):
    """The recurrent state, and the inputs still in the window of the convolution: [batch, tokens, channels] before the next token."""

    memory: RecurrentState
    recent: Tensor

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.memory.rows(start, stop), self.recent[start:stop])

    def tensors(self) -> tuple[Tensor, ...]:
        return *self.memory.tensors(), self.recent


class Mamba2(Mixer):
    """One Mamba-2 layer. Values, keys (B) and queries (C) have a matrix each: Muon orthogonalises them one by one."""

    def __init__(self, spec: MambaSpec, arch: ArchSpec) -> None:
        super().__init__()
        inner, heads, channels = spec.inner_width(arch.d_model), spec.n_heads(arch.d_model), spec.conv_channels(arch.d_model)
        self.n_heads, self.head_width, self.state_width = heads, spec.head_width, spec.state_width
        self.widths = (inner, spec.state_width, spec.state_width)
        self.value = nn.Linear(arch.d_model, inner, bias=False)
        self.key = nn.Linear(arch.d_model, spec.state_width, bias=False)
        self.query = nn.Linear(arch.d_model, spec.state_width, bias=False)
        self.gate = nn.Linear(arch.d_model, inner, bias=False)
        self.step = nn.Linear(arch.d_model, heads, bias=False)
        self.step_bias = nn.Parameter(_spread_steps(heads))
        self.log_rate = nn.Parameter(_spread_rates(heads).log())
        self.skip = nn.Parameter(torch.ones(heads))
        self.taps = nn.Parameter(torch.empty(channels, 1, spec.conv_width))
        self.taps_bias = nn.Parameter(torch.zeros(channels))
        self.norm_gain = nn.Parameter(torch.ones(inner))
        self.output = nn.Linear(inner, arch.d_model, bias=False)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return self._mix(x, None)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> MambaState:
        memory = RecurrentState.empty((batch, self.n_heads, self.state_width, self.head_width), device, dtype)
        recent = torch.zeros(batch, self.taps.shape[-1] - 1, self.taps.shape[0], device=device, dtype=dtype)
        return MambaState(memory, recent)

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        assert isinstance(state, MambaState)
        return self._mix(x, state)

    def _mix(self, x: Tensor, state: MambaState | None) -> Tensor:
        projected = torch.cat((self.value(x), self.key(x), self.query(x)), -1)
        value, key, query = self._convolve(projected, state).split(self.widths, -1)
        value = value.unflatten(-1, (-1, self.head_width))  # [batch, tokens, heads, head_width]
        step = F.softplus(precise(self.step(x)) + self.step_bias)
        written = value * step.to(value.dtype)[..., None]
        memory = None if state is None else state.memory
        read = scan(query[:, :, None], key[:, :, None], written, -step * self.log_rate.exp(), memory)
        mixed = read + value * self.skip.to(value.dtype)[:, None]
        return self.output(rms_norm(mixed.flatten(2) * F.silu(self.gate(x)), self.norm_gain))

    def _convolve(self, x: Tensor, state: MambaState | None) -> Tensor:
        """Each channel with its own recent past, [batch, tokens, channels] in and out; `state` keeps the newest tokens."""
        past = self.taps.shape[-1] - 1
        if state is None:
            x = F.pad(x, (0, 0, past, 0))
        else:
            x = torch.cat((state.recent, x), 1)
            state.recent.copy_(x[:, -past:])
        return F.silu(convolve(x, self.taps, self.taps_bias))


def _spread_steps(n_heads: int) -> Tensor:
    """Biases, [n_heads], at which softplus gives steps that are spread evenly on a logarithmic scale."""
    place = (torch.arange(n_heads) + 0.5) / n_heads
    step = SHORTEST_STEP * (LONGEST_STEP / SHORTEST_STEP) ** place
    return step + torch.log(-torch.expm1(-step))


def _spread_rates(n_heads: int) -> Tensor:
    """Rates, [n_heads], evenly spread like the published draw, and like it unrelated to the steps: a golden-ratio sequence."""
    place = (torch.arange(n_heads) + 0.5) * GOLDEN % 1
    return SLOWEST_RATE + (FASTEST_RATE - SLOWEST_RATE) * place


MIXER = Mamba2
