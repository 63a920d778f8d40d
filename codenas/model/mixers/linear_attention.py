"""Gated linear attention with one decay per head and token (Yang et al. 2024, with the scalar gates of Sun et al. 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers.base import Mixer, MixerState
from codenas.model.mixers.scan import RecurrentState, precise, scan
from codenas.model.norms import rms_norm
from codenas.model.positions import Positions

SHORTEST_MEMORY, LONGEST_MEMORY = 8.0, 1024.0  # tokens after which the state of a new head has decayed to 1/e


class LinearAttention(Mixer):
    """One layer of gated linear attention. Its state is one matrix per head; order comes from the decay."""

    def __init__(self, spec: LinearAttentionSpec, arch: ArchSpec) -> None:
        super().__init__()
        self.n_heads, self.head_width = spec.n_heads, spec.head_width(arch.d_model)
        self.query = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.key = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.value = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.gate = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.decay = nn.Linear(arch.d_model, spec.n_heads, bias=False)
        self.decay_bias = nn.Parameter(_spread_memories(spec.n_heads))
        self.norm_gain = nn.Parameter(torch.ones(self.head_width))
        self.output = nn.Linear(arch.d_model, arch.d_model, bias=False)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return self._mix(x, None)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> RecurrentState:
        return RecurrentState.empty((batch, self.n_heads, self.head_width, self.head_width), device, dtype)

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        assert isinstance(state, RecurrentState)
        return self._mix(x, state)

    def _mix(self, x: Tensor, memory: RecurrentState | None) -> Tensor:
        query, key, value = rms_norm(self._heads(self.query(x))), rms_norm(self._heads(self.key(x))), self._heads(self.value(x))
        log_decay = F.logsigmoid(precise(self.decay(x)) + self.decay_bias)
        read = scan(query * self.head_width**-0.5, key, value, log_decay, memory)
        return self.output(rms_norm(read, self.norm_gain).flatten(2) * F.silu(self.gate(x)))

    def _heads(self, x: Tensor) -> Tensor:
        """[batch, tokens, d_model] to [batch, tokens, heads, head_width]."""
        return x.unflatten(-1, (-1, self.head_width))


def _spread_memories(n_heads: int) -> Tensor:
    """Biases, [n_heads], whose sigmoid decays give memory lengths spread evenly on a logarithmic scale."""
    place = (torch.arange(n_heads) + 0.5) / n_heads
    memory = SHORTEST_MEMORY * (LONGEST_MEMORY / SHORTEST_MEMORY) ** place
    return torch.logit(torch.exp(-1 / memory))


MIXER = LinearAttention
