"""Rotary angles and ALiBi slopes."""

import math

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def rotary_table(context_len: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine per position (Su et al. 2021), each [context_len, head_width / 2]."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context_len, dtype=torch.float64), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs (i, i + width / 2), the layout of Llama's checkpoints.

    Args:
        x: [batch, heads, tokens, head_width].
        cos, sin: broadcast to [batch, 1, tokens, head_width / 2].
    """
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi_slopes(n_heads: int) -> Tensor:
    """Slope per head, [n_heads] (Press et al. 2022); head counts that are no power of two interleave the next one's."""

    def geometric(heads: int) -> list[float]:
        ratio = 2.0 ** (-8.0 / heads)
        return [ratio ** (i + 1) for i in range(heads)]

    power = 2 ** math.floor(math.log2(n_heads))
    return torch.tensor(geometric(power) + geometric(2 * power)[0::2][: n_heads - power])
