"""Softmax attention: multi-head, grouped-query or multi-query; global or in a sliding window; rotary, ALiBi or plain."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch.mixers.attention import LONGEST_IN_BLOCKS, AttentionSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers.base import Mixer, MixerState
from codenas.model.mixers.blockwise import blockwise_attention
from codenas.model.norms import rms_norm
from codenas.model.positions import Positions, alibi_slopes, attention_bias, rotary_table, rotate


@dataclass(slots=True)
class KeyValueCache(MixerState):
    """Keys and values, [batch, kv_heads, slots, head_width]. Position p is in slot p mod slots: a sliding window is a ring buffer."""

    keys: Tensor
    values: Tensor
    truncatable: bool

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.keys[start:stop], self.values[start:stop], self.truncatable)

    def tensors(self) -> tuple[Tensor, ...]:
        return self.keys, self.values

    def save(self, row: int, start: int, stop: int) -> tuple[Tensor, ...]:
        held = self._slots(start, stop)
        return self.keys[row][:, held], self.values[row][:, held]

    def load(self, row: int, start: int, stop: int, saved: tuple[Tensor, ...]) -> None:
        held = self._slots(start, stop)
        self.keys[row][:, held], self.values[row][:, held] = saved

    def _slots(self, start: int, stop: int) -> Tensor:
        """Of those positions from `start` to `stop` that the ring still holds at `stop`."""
        slots = self.keys.shape[2]
        return torch.arange(max(start, stop - slots), stop, device=self.keys.device) % slots


class Attention(Mixer):
    """One attention layer; its decoding state is a key-value cache."""

    cos: Tensor
    sin: Tensor
    slopes: Tensor

    def __init__(self, spec: AttentionSpec, arch: ArchSpec) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = spec.n_heads, spec.n_kv_heads
        self.head_width = spec.head_width(arch.d_model)
        self.slots = min(spec.window or arch.context_len, arch.context_len)
        self.windowed = self.slots < arch.context_len
        self.rotary, self.alibi = arch.position == "rope", arch.position == "alibi"
        self.dropout = arch.attention_dropout
        kv_width = self.n_kv_heads * self.head_width
        self.query = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.key = nn.Linear(arch.d_model, kv_width, bias=False)
        self.value = nn.Linear(arch.d_model, kv_width, bias=False)
        self.output = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.query_gain = nn.Parameter(torch.ones(self.head_width)) if spec.qk_norm else None
        self.key_gain = nn.Parameter(torch.ones(self.head_width)) if spec.qk_norm else None
        cos, sin = rotary_table(arch.context_len, self.head_width) if self.rotary else (torch.empty(0), torch.empty(0))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("slopes", alibi_slopes(self.n_heads), persistent=False)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        query, key, value = self._project(x, slice(x.shape[1]))
        dropout = self.dropout if self.training else 0.0
        in_blocks = x.device.type == "cpu" and x.shape[1] <= LONGEST_IN_BLOCKS
        biased = self.alibi or (self.windowed and not in_blocks)
        bias = positions.bias(self.slots, self._slopes(), query.dtype) if biased else None
        if in_blocks:
            mixed = blockwise_attention(query, key, value, self.slots, bias, dropout)
            return self.output(mixed.transpose(1, 2).flatten(2))
        return self._attend(query, key, value, bias, dropout)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> KeyValueCache:
        shape = (batch, self.n_kv_heads, self.slots, self.head_width)
        keys, values = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        return KeyValueCache(keys, values, truncatable=not self.windowed)

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        assert isinstance(state, KeyValueCache)
        start = torch.tensor(lengths, device=x.device)[:, None]
        positions = start + torch.arange(x.shape[1], device=x.device)
        query, key, value = self._project(x, positions)
        key, value = key.to(state.keys.dtype), value.to(state.values.dtype)  # autocast computes in another precision than the cache has
        if x.shape[1] == 1:
            return self._extend_by_one(query, key, value, state, lengths, positions)
        used = min(max(lengths), self.slots)  # a new prompt must not be compared with a context of empty slots
        cached = _positions_in_slots(start, self.slots)[:, :used]
        keys, values = torch.cat((state.keys[:, :, :used], key), 2), torch.cat((state.values[:, :, :used], value), 2)
        bias = attention_bias(positions, torch.cat((cached, positions), 1), self.slots, self._slopes())
        kept = slice(max(0, x.shape[1] - self.slots), None)  # older ones would be overwritten at once
        _write(state, key[:, :, kept], value[:, :, kept], positions[:, kept] % self.slots)
        return self._attend(query, keys, values, bias.to(x.dtype), 0.0)

    def _extend_by_one(
        self, query: Tensor, key: Tensor, value: Tensor, state: KeyValueCache, lengths: list[int], positions: Tensor
    ) -> Tensor:
        """The path of every decoded token: write first (the slot's old position has just left the window), then attend."""
        used = min(max(lengths) + 1, self.slots)
        if len(lengths) == 1:
            slot = lengths[0] % self.slots
            state.keys[:, :, slot] = key[:, :, 0]
            state.values[:, :, slot] = value[:, :, 0]
        else:
            _write(state, key, value, positions % self.slots)
        bias = None
        if self.alibi or len(lengths) > 1:
            cached = _positions_in_slots(positions + 1, self.slots)[:, :used]
            bias = attention_bias(positions, cached, self.slots, self._slopes()).to(query.dtype)
        return self._attend_to_cache(query, state.keys[:, :, :used], state.values[:, :, :used], bias)

    def _attend_to_cache(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """`_attend` of one token per row to the cache.

        The query heads of one key head are rows of one product: repeated for each of them, the cache would be copied for every
        token, and fewer key heads would save memory but no time.
        """
        rows = query.unflatten(1, (self.n_kv_heads, -1))[:, :, :, 0]  # [batch, kv_heads, group, head_width]
        if bias is not None and self.alibi:  # else it is the same for every head
            bias = bias.unflatten(1, (self.n_kv_heads, -1))[:, :, :, 0]
        mixed = F.scaled_dot_product_attention(rows, keys, values, bias)
        return self.output(mixed.flatten(1)[:, None])

    def _slopes(self) -> Tensor | None:
        return self.slopes if self.alibi else None

    def _project(self, x: Tensor, positions: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, [batch, heads, tokens, head_width], normalised and rotated.

        Args:
            positions: of the tokens, [batch, tokens]; or a slice where all rows have the same.
        """
        query, key, value = self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        if self.query_gain is not None and self.key_gain is not None:
            query, key = rms_norm(query, self.query_gain), rms_norm(key, self.key_gain)
        if self.rotary:
            cos, sin = self.cos[positions].unsqueeze(-3), self.sin[positions].unsqueeze(-3)
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        return query, key, value

    def _heads(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        return heads if x.is_cuda else heads.contiguous()  # on a CPU strided reads in every later step cost more than one copy

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
        """Scores, weights, mix, output. Without a bias the mask is the causal triangle."""
        groups = self.n_heads // self.n_kv_heads
        # Of a GPU's kernels only the one that takes no bias shares a key head; with a bias torch would fall back on the whole square.
        shared = groups > 1 and query.is_cuda and bias is None
        if groups > 1 and not shared:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, bias, dropout, is_causal=bias is None, enable_gqa=shared)
        return self.output(mixed.transpose(1, 2).flatten(2))


def _positions_in_slots(lengths: Tensor, slots: int) -> Tensor:
    """The position that each slot of a ring holds after `lengths` [batch, 1] tokens; negative where it holds none."""
    slot = torch.arange(slots, device=lengths.device)[None]
    return lengths - 1 - (lengths - 1 - slot) % slots


def _write(state: KeyValueCache, key: Tensor, value: Tensor, slots: Tensor) -> None:
    """Put keys and values [batch, heads, tokens, width] into `slots` [batch, tokens]."""
    where = slots[:, None, :, None].expand_as(key)
    state.keys.scatter_(2, where, key)
    state.values.scatter_(2, where, value)


MIXER = Attention
