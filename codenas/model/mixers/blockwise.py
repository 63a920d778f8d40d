"""Causal softmax attention in blocks of queries: for CPUs, where torch's own kernel needs two to three times as long.

A block sees only the keys up to its last query (and from the window of its first on), so half of the work of the full
square is never done, and what is done is matrix products. The weights of all blocks are kept for the way back: memory grows
with the square of the tokens, so this is for contexts up to `LONGEST_IN_BLOCKS`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.chunks import ATTENTION_BLOCK, first_seen


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, window: int, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """What each query sees of its past.

    Args:
        query: [batch, heads, tokens, width].
        key, value: [batch, kv_heads, tokens, width]; heads is a multiple of kv_heads.
        window: positions that a query sees, itself included.
        bias: added to the scores, [heads, tokens, tokens]; it must hide what is outside the window.

    Returns:
        [batch, heads, tokens, width].
    """
    batch, heads, tokens, width = query.shape
    kv_heads = key.shape[1]
    folded = (query * width**-0.5).view(batch, kv_heads, heads // kv_heads, tokens, width)
    mixed = [
        _block(folded, key, value, start, min(start + ATTENTION_BLOCK, tokens), window, bias, dropout)
        for start in range(0, tokens, ATTENTION_BLOCK)
    ]
    return torch.cat(mixed, 3).view(batch, heads, tokens, width)


def _block(query: Tensor, key: Tensor, value: Tensor, start: int, stop: int, window: int, bias: Tensor | None, dropout: float) -> Tensor:
    """The queries `start` to `stop`. The query heads of one key head are rows of one product: no key is copied."""
    batch, kv_heads, group, _, width = query.shape
    first = first_seen(start, window)
    rows = query[:, :, :, start:stop].reshape(batch * kv_heads, group * (stop - start), width)
    seen = key[:, :, first:stop].reshape(batch * kv_heads, stop - first, width)
    if bias is None:
        hidden = _hidden(start, stop, first, window, query).repeat(group, 1)
        scores = torch.baddbmm(hidden, rows, seen.mT)
    else:
        added = bias[:, start:stop, first:stop].reshape(kv_heads, group * (stop - start), stop - first)
        scores = ((rows @ seen.mT).view(batch, kv_heads, *added.shape[1:]) + added).flatten(0, 1)
    weights = F.dropout(scores.softmax(-1), dropout)
    mixed = weights @ value[:, :, first:stop].reshape(batch * kv_heads, stop - first, width)
    return mixed.view(batch, kv_heads, group, stop - start, width)


def _hidden(start: int, stop: int, first: int, window: int, like: Tensor) -> Tensor:
    """Minus infinity where a key is in the future of a query or has left its window, else 0; [queries, keys]."""
    distance = torch.arange(start, stop, device=like.device)[:, None] - torch.arange(first, stop, device=like.device)
    return torch.zeros_like(distance, dtype=like.dtype).masked_fill((distance < 0) | (distance >= window), float("-inf"))
