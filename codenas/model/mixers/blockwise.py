"""Causal softmax attention in blocks of queries: for CPUs, where torch's own kernel needs two to three times as long.

A block sees only the keys up to its last query (and from the window of its first on), so half of the work of the full
square is never done, and what is done is matrix products. The weights of all blocks are kept for the backward pass: memory grows
with the square of the tokens, so this is for contexts up to `LONGEST_IN_BLOCKS`.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from codenas.arch.mixers.attention import ATTENTION_BLOCK, first_seen
from codenas.model.gradients import custom_backward


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, window: int, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Causal attention of each query to the keys and values before it.

    Args:
        query: [batch, heads, tokens, width].
        key, value: [batch, kv_heads, tokens, width]; heads is a multiple of kv_heads.
        window: positions that a query attends to, itself included.
        bias: added to the scores, [heads, tokens, tokens]; it must mask what is outside the window. It gets no gradient.

    Returns:
        [batch, heads, tokens, width].
    """
    if custom_backward(query):
        mixed: Tensor = _Blockwise.apply(query, key, value, window, bias, dropout)  # type: ignore[no-untyped-call]
        return mixed
    return _mix(*_by_key_head(query, key, value), _blocks(query.shape[2], window), window, bias, dropout)[0].view(query.shape)


@dataclass(frozen=True, slots=True)
class _Block:
    """The queries `start` to `stop`, and the first key that they attend to."""

    start: int
    stop: int
    first: int

    def queries(self, heads: Tensor) -> Tensor:
        """Its part of [batch * kv_heads, group, tokens, width]: the heads of one key are rows of one product, no key is copied."""
        return heads[:, :, self.start : self.stop].flatten(1, 2)

    def keys(self, heads: Tensor) -> Tensor:
        """Its part, a view, of [batch * kv_heads, tokens, width]."""
        return heads[:, self.first : self.stop]


class _Blockwise(torch.autograd.Function):
    """With a backward pass that accumulates into one gradient of all tokens; torch's would allocate one for every slice."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, window: int, bias: Tensor | None, dropout: float) -> Tensor:
        heads, ctx.blocks, ctx.dropout = _by_key_head(query, key, value), _blocks(query.shape[2], window), dropout
        mixed, kept = _mix(*heads, ctx.blocks, window, bias, dropout, keep=True)
        ctx.save_for_backward(*heads, *kept)
        return mixed.view(query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        to_mixed = upstream[0].reshape(queries.shape)
        to_queries, to_keys, to_values = [], torch.zeros_like(keys), torch.zeros_like(values)
        for block, weights, dropped in zip(ctx.blocks, kept[::2], kept[1::2], strict=True):
            to_rows = block.queries(to_mixed)
            block.keys(to_values).add_(dropped.mT @ to_rows)
            to_weights = to_rows @ block.keys(values).mT
            if ctx.dropout:
                to_weights *= (dropped != 0) / (1 - ctx.dropout)
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            block.keys(to_keys).add_(to_scores.mT @ block.queries(queries))
            to_queries.append(to_scores @ block.keys(keys))
        to_query = _joined(to_queries, queries.shape[1]).mul_(_scale(queries)).view(upstream[0].shape)
        batch = len(to_query)
        return to_query, to_keys.unflatten(0, (batch, -1)), to_values.unflatten(0, (batch, -1)), None, None, None


def _blocks(tokens: int, window: int) -> list[_Block]:
    return [_Block(start, min(start + ATTENTION_BLOCK, tokens), first_seen(start, window)) for start in range(0, tokens, ATTENTION_BLOCK)]


def _by_key_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled queries, [batch * kv_heads, group, tokens, width]; keys and values, [batch * kv_heads, tokens, width]."""
    queries = (query * _scale(query)).unflatten(1, (key.shape[1], -1)).flatten(0, 1)
    return queries, key.flatten(0, 1), value.flatten(0, 1)


def _scale(queries: Tensor) -> float:
    return queries.shape[-1] ** -0.5


def _mix(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    blocks: list[_Block],
    window: int,
    bias: Tensor | None,
    dropout: float,
    keep: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """What `queries` see, in their shape; if asked for, also the weights of every block before and after dropout."""
    mixed, kept = [], []
    for block in blocks:
        weights = _scores(block, queries, keys, window, bias).softmax(-1)
        dropped = F.dropout(weights, dropout)
        mixed.append(dropped @ block.keys(values))
        kept += [weights, dropped] if keep else []
    return _joined(mixed, queries.shape[1]), kept


def _joined(blocks: list[Tensor], group: int) -> Tensor:
    """The rows of all blocks, [batch * kv_heads, group * queries, width], as one [batch * kv_heads, group, tokens, width]."""
    return torch.cat([rows.unflatten(1, (group, -1)) for rows in blocks], 2)


def _scores(block: _Block, queries: Tensor, keys: Tensor, window: int, bias: Tensor | None) -> Tensor:
    """Of a block, minus infinity outside its past and its window; [batch * kv_heads, group * queries, keys]."""
    rows, seen, group = block.queries(queries), block.keys(keys), queries.shape[1]
    if bias is None:
        added = _hidden(block, window, queries).repeat(group, 1)
    else:
        added = bias[:, block.start : block.stop, block.first : block.stop].unflatten(0, (-1, group)).flatten(1, 2)
        added = added.repeat(len(rows) // len(added), 1, 1)
    return torch.baddbmm(added, rows, seen.mT)


def _hidden(block: _Block, window: int, like: Tensor) -> Tensor:
    """Minus infinity where a key is in the future of a query or has left its window, else 0; [queries, keys]."""
    queries = torch.arange(block.start, block.stop, device=like.device)
    distance = queries[:, None] - torch.arange(block.first, block.stop, device=like.device)
    return torch.zeros_like(distance, dtype=like.dtype).masked_fill((distance < 0) | (distance >= window), float("-inf"))
