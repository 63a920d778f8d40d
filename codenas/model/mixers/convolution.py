"""A causal convolution of each channel with itself: a few taps back in time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """y[t] = bias + sum over i of taps[i] x[t + i]: nothing is padded, `width - 1` tokens fewer come out.

    Args:
        x: [batch, tokens + width - 1, channels].
        taps: [channels, 1, width], the layout of `nn.Conv1d`.
        bias: [channels].
    """
    if x.shape[1] == taps.shape[-1]:  # one token comes out, as in decoding: less work than to set up a convolution
        return (x * taps[:, 0].T).sum(1, keepdim=True) + bias
    convolved: Tensor = _Convolution.apply(x, taps.to(x.dtype), bias.to(x.dtype))  # type: ignore[no-untyped-call]
    return convolved


class _Convolution(torch.autograd.Function):
    """Torch's gradient of the taps of a depthwise convolution takes twenty times as long as the convolution, on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, taps)
        return _depthwise(x, taps, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, taps = ctx.saved_tensors
        width, tokens = taps.shape[-1], gradient.shape[1]
        by_input = _depthwise(F.pad(gradient, (0, 0, width - 1, width - 1)), taps.flip(-1), None)
        by_tap = [(gradient * x[:, i : i + tokens]).sum((0, 1)) for i in range(width)]
        return by_input, torch.stack(by_tap, -1)[:, None], gradient.sum((0, 1))


def _depthwise(x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
    """As an image of height one whose channels lie last: the layout of everything around; conv1d would turn it twice."""
    return F.conv2d(x.mT[:, :, None], taps[:, :, None], bias, groups=taps.shape[0])[:, :, 0].mT
