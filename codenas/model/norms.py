"""Normalisations over the last dimension: per token, so nothing can leak between tokens. Gains only, no biases.

The modules return the precision of the matrices that read their output: it is cast once instead of by each of them.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from codenas.arch.spec import NORM_GROUPS, Norm
from codenas.model.gradients import custom_backward

EPSILON = 1e-6


def matrix_dtype(x: Tensor) -> torch.dtype:
    """The precision of matrix products with `x`, which autocast may change."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def rms_norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    """x / rms(x) * gain over the last dimension, in the precision of `x`."""
    if not custom_backward(x):
        return F.rms_norm(x, x.shape[-1:], None if gain is None else gain.to(x.dtype), EPSILON)
    normal: Tensor = _RmsNorm.apply(x, gain)  # type: ignore[no-untyped-call]
    return normal


class _RmsNorm(torch.autograd.Function):
    """On a CPU several times as fast in training as torch's own: it takes as few passes over `x` as possible."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        shrink = length.square_().div_(x.shape[-1]).add_(EPSILON).rsqrt_().to(x.dtype)
        normal = x * shrink
        ctx.save_for_backward(normal, shrink, gain)
        return normal if gain is None else normal * gain.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor | None]:
        normal, shrink, gain = ctx.saved_tensors
        to_gain, to_normal = None, upstream[0]
        along = to_normal * normal
        if gain is None:
            common = along.mean(-1, keepdim=True)
        else:
            to_gain = along.flatten(0, -2).sum(0, dtype=gain.dtype)
            common = (along @ gain.to(along.dtype)).unsqueeze(-1) / gain.numel()
            to_normal = to_normal * gain.to(to_normal.dtype)
        return torch.addcmul(to_normal, normal, common, value=-1).mul_(shrink), to_gain


class RMSNorm(nn.Module):
    """x / rms(x) * gain (Zhang and Sennrich 2019). Shape [..., width] in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight).to(matrix_dtype(x))


class LayerNorm(nn.Module):
    """(x - mean) / std * gain. Shape [..., width] in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (x.shape[-1],), self.weight.to(x.dtype), None, EPSILON).to(matrix_dtype(x))


class GroupNorm(nn.Module):
    """LayerNorm over each of `NORM_GROUPS` groups of a token's channels; unlike torch's, it does not normalise over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(-1, (NORM_GROUPS, -1))
        normal = F.layer_norm(groups, groups.shape[-1:], None, None, EPSILON).flatten(-2)
        return (normal * self.weight.to(x.dtype)).to(matrix_dtype(x))


_NORMS: dict[Norm, Callable[[int], nn.Module]] = {"rmsnorm": RMSNorm, "layernorm": LayerNorm, "groupnorm": GroupNorm}


def build_norm(kind: Norm, width: int) -> nn.Module:
    """The normalisation called `kind` over `width` channels."""
    return _NORMS[kind](width)
