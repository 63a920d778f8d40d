"""RWKV-7 time mixing (Peng et al. 2025): a matrix state per head under a generalised delta rule with decays per channel."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers import delta
from codenas.model.mixers.base import Mixer, MixerState
from codenas.model.norms import matrix_dtype
from codenas.model.positions import Positions

FASTEST_DECAY = -0.606531  # log of the fastest decay of a channel: -exp(-1/2)
NORM_EPSILON = 64e-5
SHORTEST = 1e-12  # shorter vectors are not normalised
STRETCH = 2048  # tokens, of all rows together, that a CPU mixes at once


@dataclass(slots=True)
class RwkvState(MixerState):
    """The recurrent state of every head, [batch, heads, key width, value width], and the last input, [batch, d_model]."""

    memory: Tensor
    last: Tensor

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.memory[start:stop], self.last[start:stop])

    def tensors(self) -> tuple[Tensor, ...]:
        return self.memory, self.last


class Rwkv7(Mixer):
    """One layer of RWKV-7. Order comes from the decays and from the shift: every input is mixed with the one before."""

    def __init__(self, spec: RwkvSpec, arch: ArchSpec) -> None:
        super().__init__()
        width = arch.d_model
        self.head_width = spec.head_width
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.decay = _low_rank(width, spec.rank, nn.Tanh())
        self.rate = _low_rank(width, spec.rank, nn.Identity())
        self.gate = _low_rank(width, spec.gate_rank, nn.Sigmoid())
        channel = torch.linspace(0, 1, width)
        in_head = torch.linspace(-1, 1, spec.head_width).repeat(width // spec.head_width)
        zigzag = in_head * in_head.abs()
        # Slow and fast channels from the start, as the paper's layers half-way up have them. All are 1-D, the six shifts too: a
        # matrix would be drawn anew by `build_model` and trained by Muon.
        self.shift = nn.Parameter(torch.cat([1 - channel**power for power in (0.1, 0.35, 0.35, 0.45, 0.45, 0.1)]))
        self.decay_offset = nn.Parameter(-5.5 + 6 * channel**1.8 + 2.5 * zigzag)
        self.rate_offset = nn.Parameter(-0.19 + 0.3 * zigzag + 0.4 * (channel - 0.5))
        self.removal_gain = nn.Parameter(0.71 - 0.1 * (channel - 0.5))
        self.key_rate = nn.Parameter(torch.ones(width))
        self.bonus = nn.Parameter(torch.full((width,), -0.04))
        self.norm_gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return self._walk(x, self.initial_state(x.shape[0], x.device, x.dtype))[0]

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> RwkvState:
        width = self.output.in_features
        shape = (batch, width // self.head_width, self.head_width, self.head_width)
        memory = torch.zeros(shape, device=device, dtype=torch.promote_types(dtype, torch.float32))
        return RwkvState(memory, torch.zeros(batch, width, device=device, dtype=dtype))

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        assert isinstance(state, RwkvState)
        y, after = self._walk(x, state)
        state.memory.copy_(after.memory)
        state.last.copy_(after.last)
        return y

    def _walk(self, x: Tensor, state: RwkvState) -> tuple[Tensor, RwkvState]:
        """The outputs and a new state; the old one stays as it is, so that gradients can pass.

        On a CPU in stretches that stay in its cache: tens of thousands of tokens at once are two to three times slower.
        """
        if x.device.type != "cpu":
            return self._mix(x, state)
        outputs = []
        for part in x.split(delta.CHUNK * max(1, STRETCH // (delta.CHUNK * x.shape[0])), 1):
            y, state = self._mix(part, state)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    def _mix(self, x: Tensor, state: RwkvState) -> tuple[Tensor, RwkvState]:
        """One stretch; one token takes the short way."""
        x = x.to(matrix_dtype(x))  # the shifts too: in float32 they cost as much as the matrices
        step_back = torch.cat((state.last[:, None].to(x.dtype), x[:, :-1]), 1) - x
        receptance, key, value, decay, rate, gate = (torch.addcmul(x, step_back, shift) for shift in self.shift.to(x.dtype).chunk(6))
        inputs = self._delta_inputs(receptance, key, value, decay, rate)
        mixed, memory = (delta.step if x.shape[1] == 1 else delta.scan)(inputs, state.memory)
        return self.output(self._finish(mixed, inputs) * self.gate(gate)), RwkvState(memory, x[:, -1])

    def _delta_inputs(self, receptance: Tensor, key: Tensor, value: Tensor, decay: Tensor, rate: Tensor) -> delta.DeltaInputs:
        """From the shifted inputs, each [batch, tokens, d_model]. The removal key has unit norm in every head."""
        dtype = key.dtype
        log_decay = FASTEST_DECAY * torch.sigmoid(self.decay(decay) + _wide(self.decay_offset))
        rate = torch.sigmoid(self.rate(rate) + self.rate_offset.to(dtype))
        key = self.key(key)
        removal = _unit(self._heads(key * self.removal_gain.to(dtype)))
        key = key * (1 + (rate - 1) * self.key_rate.to(dtype))
        return delta.DeltaInputs(
            query=self._heads(self.receptance(receptance)),
            log_decay=self._heads(log_decay),
            removal=removal,
            replacement=removal * self._heads(rate),
            key=self._heads(key),
            value=self._heads(self.value(value)),
        )

    def _finish(self, mixed: Tensor, inputs: delta.DeltaInputs) -> Tensor:
        """Normalise every head, and add the token's own value as far as its key answers its receptance: [batch, tokens, d_model]."""
        normal = F.layer_norm(mixed, (self.head_width,), eps=NORM_EPSILON) * self._heads(self.norm_gain.to(mixed.dtype))
        answer = (inputs.query * inputs.key * self._heads(self.bonus.to(mixed.dtype))).sum(-1, keepdim=True)
        return (normal + answer * inputs.value).flatten(2).to(mixed.dtype)  # a GPU normalises and sums in float32

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_width))


def _low_rank(width: int, rank: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, rank, bias=False), activation, nn.Linear(rank, width, bias=False))


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: a decay near one has all its meaning in digits that bfloat16 lacks."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _unit(x: Tensor) -> Tensor:
    """Of length one along the last dimension, as precise as `x`; zeros stay zeros, with finite gradients."""
    # As `F.normalize`, but for the backward pass, in which its root and its quotient take twice as many passes over `x`.
    return x * x.square().sum(-1, keepdim=True).clamp_min(SHORTEST**2).rsqrt().to(x.dtype)


MIXER = Rwkv7
