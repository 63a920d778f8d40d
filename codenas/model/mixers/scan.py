"""Linear recurrences with one decay per head and token, read in chunks (Dao and Gu 2024, "state space duality").

S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T and o_t = q_t S_t. Within a chunk this is attention whose weights fade; between chunks
only states travel. Heads may share keys and queries in groups of equal size: one group is Mamba-2, a group per head is linear
attention. Decays and their sums are float32 at least, whatever precision autocast gives the matrices.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.model.mixers.base import MixerState

CHUNK = 64  # weights within chunks cost tokens * CHUNK, states between them tokens / CHUNK * width^2: equal at width 64


@dataclass(slots=True)
class Memory(MixerState):
    """The matrices S, [batch, heads, key_width, value_width]."""

    matrices: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> Self:
        """Zeros. At least float32: a slow head adds less per token than half precision can tell from nothing."""
        return cls(torch.zeros(shape, device=device, dtype=torch.promote_types(dtype, torch.float32)))

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.matrices[start:stop])

    def move(self, source: int, target: int) -> None:
        self.matrices[target] = self.matrices[source]

    def reset(self, row: int) -> None:
        self.matrices[row] = 0


def scan(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, memory: Memory | None = None, chunk: int = CHUNK) -> Tensor:
    """What queries read from the memory that keys and values write; any number of tokens.

    Args:
        query, key: [batch, groups, tokens, key_width].
        value: [batch, heads, tokens, value_width]; consecutive heads form a group.
        log_decay: [batch, heads, tokens], at most zero.
        memory: what came before; it learns the tokens. None starts from nothing and remembers nothing.

    Returns:
        [batch, heads, tokens, value_width], with the precision of `value`.
    """
    if memory is not None and value.shape[2] == 1:
        return _step(query, key, value, log_decay, memory)
    tokens, groups = value.shape[2], key.shape[1]
    chunk = min(chunk, tokens)
    query, key = _in_chunks(query, chunk), _in_chunks(key, chunk)  # [batch, groups, chunks, chunk, key_width]
    value = _in_chunks(value, chunk).unflatten(1, (groups, -1))  # [batch, groups, heads of a group, chunks, chunk, value_width]
    log_decay = _in_chunks(precise(log_decay)[..., None], chunk)[..., 0].unflatten(1, (groups, -1))
    return _scan_chunks(query, key, value, log_decay, memory).flatten(1, 2).flatten(2, 3)[:, :, :tokens]


def _scan_chunks(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, memory: Memory | None) -> Tensor:
    """`scan` in its chunks. Letters: batch, group, head, chunk n, tokens i and j of a chunk, key channel k, value channel v."""
    elapsed = log_decay.cumsum(-1)  # from the beginning of the chunk to a token, itself included
    weights = torch.einsum("bgnik,bgnjk->bgnij", query, key)[:, :, None] * fading(log_decay, value.dtype)
    kept = (elapsed[..., -1:] - elapsed).exp().to(value.dtype)
    written = torch.einsum("bgnjk,bghnjv->bghnkv", key, value * kept[..., None])
    states = _between_chunks(written, elapsed[..., -1], memory)
    read = torch.einsum("bgnik,bghnkv->bghniv", query, states)
    return weights @ value + read * elapsed.exp().to(value.dtype)[..., None]


def _between_chunks(written: Tensor, log_decay: Tensor, memory: Memory | None) -> Tensor:
    """The state before every chunk, from what each of them writes and keeps; shape of `written`, [..., chunks, key, value]."""
    log_decay = F.pad(log_decay, (1, 0))  # position 0 is before all chunks
    decays = fading(log_decay, written.dtype)
    states = (decays[..., 1:] @ written.flatten(-2)).unflatten(-1, written.shape[-2:])
    if memory is not None:
        first = memory.matrices.unflatten(1, written.shape[1:3]).unsqueeze(3)
        states = states + log_decay.cumsum(-1).exp()[..., None, None] * first
        memory.matrices.copy_(states[..., -1, :, :].flatten(1, 2))
    return states[..., :-1, :, :].to(written.dtype)


def _step(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, memory: Memory) -> Tensor:
    """`scan` of one token, literally: the path of every decoded token."""
    state = memory.matrices
    groups, heads = key.shape[1], value.shape[1]
    query, key = (x.repeat_interleave(heads // groups, 1).to(state.dtype) if groups > 1 else x.to(state.dtype) for x in (query, key))
    state.mul_(log_decay.to(state.dtype).exp()[..., None]).addcmul_(key.mT, value.to(state.dtype))
    return (query @ state).to(value.dtype)


def fading(log_decay: Tensor, dtype: torch.dtype) -> Tensor:
    """What is left at i of what was written at j: exp of the sum over (j, i], zero for j > i; [..., tokens] to [..., i, j]."""
    elapsed = log_decay.cumsum(-1)
    future = torch.ones(2 * log_decay.shape[-1:], dtype=torch.bool, device=log_decay.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and may overflow, and 0 * inf is no zero, nor has it a gradient.
    # Rounded before exp: a rounded difference errs by less than what a weight loses by rounding, and half the bytes move.
    return (elapsed[..., :, None] - elapsed[..., None, :]).to(dtype).masked_fill_(future, float("-inf")).exp_()


def _in_chunks(x: Tensor, chunk: int) -> Tensor:
    """[batch, heads, tokens, width] to [batch, heads, chunks, chunk, width]; a last chunk is filled with zeros, which write nothing."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % chunk)).unflatten(2, (-1, chunk))


def precise(x: Tensor) -> Tensor:
    """`x` in float32 at least: where decays are made."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
