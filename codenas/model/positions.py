"""Positions: rotary angles, ALiBi slopes, and the bias that hides what a query must not see."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from codenas.model.gradients import custom_backward

ROTARY_BASE = 10_000.0


class Positions:
    """The positions of the tokens of one forward pass, and what depends on nothing else: made once, read by every layer.

    Attributes:
        ids: 0, 1, ..., [1, tokens].
    """

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.ids = torch.arange(tokens, device=device)[None]
        self._biases: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def bias(self, window: int, slopes: Tensor | None, dtype: torch.dtype) -> Tensor:
        """`attention_bias` of every token and every other, [heads or 1, tokens, tokens]: layers with the same heads and window share one.

        It grows with the square of the tokens: one in each layer could outweigh all weights.
        """
        key = (window, 0 if slopes is None else len(slopes), dtype)
        if key not in self._biases:
            self._biases[key] = attention_bias(self.ids, self.ids, window, slopes)[0].to(dtype)
        return self._biases[key]


def rotary_table(context_len: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines for the channels and signed sines for their partners at each position (Su et al. 2021), each [context_len, head_width]."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context_len, dtype=torch.float64), frequencies)
    cos, sin = angles.cos().float(), angles.sin().float()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the channel pairs (i, i + width / 2), the layout of Llama's checkpoints.

    Args:
        x: [batch, heads, tokens, head_width].
        cos, sin: of `rotary_table`, broadcast to [batch, 1, tokens, head_width].
    """
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    if not custom_backward(x):
        return _rotate(x, cos, sin, 1)
    rotated: Tensor = _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return rotated


class _Rotation(torch.autograd.Function):
    """The gradient is the inverse rotation, in half of the passes over memory that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(upstream[0], cos, sin, -1), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return (x * cos).addcmul_(torch.cat((second, first), -1), sin, value=way)


def alibi_slopes(n_heads: int) -> Tensor:
    """Slope per head, [n_heads] (Press et al. 2022); head counts that are no power of two interleave the next one's."""

    def geometric(heads: int) -> list[float]:
        ratio = 2.0 ** (-8.0 / heads)
        return [ratio ** (i + 1) for i in range(heads)]

    power = 2 ** math.floor(math.log2(n_heads))
    return torch.tensor(geometric(power) + geometric(2 * power)[0::2][: n_heads - power])


def attention_bias(queries: Tensor, keys: Tensor, window: int, slopes: Tensor | None) -> Tensor:
    """What each query adds to its scores: minus infinity for later positions and outside its window, else ALiBi's slope.

    Args:
        queries, keys: positions, [batch, tokens]; a negative key position is an empty slot.
        window: positions that a query attends to, itself included.
        slopes: of `alibi_slopes`; None without ALiBi.

    Returns:
        [batch, heads or 1, queries, keys].
    """
    distance = queries[:, None, :, None] - keys[:, None, None, :]
    hidden = (distance < 0) | (distance >= window) | (keys < 0)[:, None, None, :]
    slope = torch.zeros(1, 1, 1, device=queries.device) if slopes is None else slopes[:, None, None]
    return (-slope * distance).masked_fill_(hidden, float("-inf"))
