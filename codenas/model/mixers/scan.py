"""Linear recurrences with one decay per head and token, read in chunks (Dao and Gu 2024, "state space duality").

S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T and o_t = q_t S_t. Within a chunk this is attention with decaying weights; between chunks
only states are passed on. Heads may share keys and queries in groups of equal size: one group is Mamba-2, a group per head is linear
attention. Decays and their sums are float32 at least, whatever precision autocast gives the matrices.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.mixers.scan import SCAN_CHUNK
from codenas.model.mixers.base import MixerState

CHUNK = SCAN_CHUNK


@dataclass(slots=True)
class RecurrentState(MixerState):
    """The matrices S, [batch, heads, key_width, value_width]."""

    matrices: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> Self:
        """Zeros. At least float32: what a slow head adds per token is below the resolution of half precision."""
        return cls(torch.zeros(shape, device=device, dtype=torch.promote_types(dtype, torch.float32)))

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.matrices[start:stop])

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.matrices,)


def scan(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, state: RecurrentState | None = None, chunk: int = CHUNK) -> Tensor:
    """What queries read from the state that keys and values write; any number of tokens.

    Args:
        query, key: [batch, tokens, groups, key_width].
        value: [batch, tokens, heads, value_width]; consecutive heads form a group.
        log_decay: [batch, tokens, heads], at most zero.
        state: of the tokens before these; it is updated. None starts from zero and keeps no state.

    Returns:
        [batch, tokens, heads, value_width], with the precision of `value`.
    """
    tokens, groups = key.shape[1:3]
    if state is not None and tokens == 1:
        return _step(query[:, 0], key[:, 0], value[:, 0], log_decay[:, 0], state)[:, None]
    chunk = min(chunk, tokens)
    query, key = _in_chunks(query, chunk), _in_chunks(key, chunk)
    value = _in_chunks(value, chunk).unflatten(3, (groups, -1))
    log_decay = _in_chunks(precise(log_decay), chunk).unflatten(3, (groups, -1)).permute(0, 3, 4, 1, 2)
    return _scan_chunks(query, key, value, log_decay, state).flatten(3, 4).flatten(1, 2)[:, :tokens]


def _scan_chunks(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, state: RecurrentState | None) -> Tensor:
    """`scan` in its chunks. Letters: batch, group, head of a group, chunk n, its tokens i and j, channels k of keys and v of values.

    Args:
        query, key: [b, n, j, g, k].
        value: [b, n, j, g, h, v].
        log_decay: [b, g, h, n, j].
    """
    elapsed = log_decay.cumsum(-1)  # from the beginning of the chunk to a token, itself included
    weights = torch.einsum("bnigk,bnjgk->bgnij", query, key)[:, :, None] * fading(log_decay, value.dtype)
    kept = _like_values((elapsed[..., -1:] - elapsed).exp(), value)
    written = torch.einsum("bnjgk,bnjghv->bghnkv", key, value * kept)
    read = torch.einsum("bnigk,bghnkv->bnighv", query, _between_chunks(written, elapsed[..., -1], state))
    return read * _like_values(elapsed.exp(), value) + torch.einsum("bghnij,bnjghv->bnighv", weights, value)


def _between_chunks(written: Tensor, log_decay: Tensor, state: RecurrentState | None) -> Tensor:
    """The state before every chunk, [b, g, h, n, k, v] like what each of them writes; `state` is set to the one after the last."""
    log_decay = F.pad(log_decay, (1, 0))  # position 0 is before all chunks
    decays = fading(log_decay, written.dtype)[..., 1:]
    if state is None:
        return (decays[..., :-1, :] @ written.flatten(-2)).unflatten(-1, written.shape[-2:])
    first = state.matrices.unflatten(1, written.shape[1:3])[:, :, :, None]
    states = (decays @ written.flatten(-2)).unflatten(-1, written.shape[-2:]) + log_decay.cumsum(-1).exp()[..., None, None] * first
    state.matrices.copy_(states[..., -1, :, :].flatten(1, 2))
    return states[..., :-1, :, :].to(written.dtype)


def _step(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, state: RecurrentState) -> Tensor:
    """`scan` of one token, literally, without the dimension of tokens: the path of every decoded token."""
    matrices = state.matrices
    per_group = value.shape[1] // key.shape[1]
    query, key = (x.repeat_interleave(per_group, 1).to(matrices.dtype) for x in (query, key))
    matrices.mul_(precise(log_decay).exp()[..., None, None]).addcmul_(key[..., None], value.to(matrices.dtype)[..., None, :])
    return (query[..., None, :] @ matrices)[..., 0, :].to(value.dtype)


def fading(log_decay: Tensor, dtype: torch.dtype) -> Tensor:
    """The factor to which a write at j has decayed at i: exp of the sum over (j, i], zero for j > i; [..., tokens] to [..., i, j]."""
    elapsed = log_decay.cumsum(-1)
    future = torch.ones(2 * log_decay.shape[-1:], dtype=torch.bool, device=log_decay.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and may overflow; 0 * inf is no zero and has no gradient.
    # Rounded before exp: a rounded difference errs by less than its exp loses by rounding, and half the bytes move.
    # A sum with the negative: the gradient of a difference would negate a whole matrix before it sums.
    return (elapsed[..., :, None] + (-elapsed)[..., None, :]).to(dtype).masked_fill_(future, float("-inf")).exp_()


def _like_values(x: Tensor, value: Tensor) -> Tensor:
    """A factor per token and head, [b, g, h, n, j], laid out like values."""
    return x.to(value.dtype).permute(0, 3, 4, 1, 2)[..., None]


def _in_chunks(x: Tensor, chunk: int) -> Tensor:
    """[batch, tokens, ...] to [batch, chunks, chunk, ...]; a last chunk is filled with zeros, which write nothing."""
    if missing := -x.shape[1] % chunk:
        x = F.pad(x, (*(0, 0) * (x.ndim - 2), 0, missing))
    return x.unflatten(1, (-1, chunk))


def precise(x: Tensor) -> Tensor:
    """`x` in float32 at least: where decays are made."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
