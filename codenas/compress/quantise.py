"""Quantisation of matrices to 8 or 4 bits, dequantisation, and packing into the tensors of a file (`codenas.arch.storage`).

Symmetric: a value is multiplied by the scale of its row (int8) or of its group of inputs (int4); zero is exact. Scales are rounded
up to float16, so that the largest weight stays in range and no weight changes by more than half a scale.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.part import Shapes
from codenas.arch.storage import GROUP, PACKED, SCALE, Storage

INT8_LARGEST, INT4_LARGEST = 127, 7
_INT4_ZERO = 8  # a nibble stores -7 to 7 as 1 to 15


def quantise_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Values, int8 [rows, inputs], and scales, float16 [rows], of a finite matrix [rows, inputs]."""
    return _round(matrix, INT8_LARGEST)


def dequantise_int8(values: Tensor, scales: Tensor) -> Tensor:
    """The float32 matrix [rows, inputs] that `quantise_int8` encoded."""
    return values.float() * scales.float()[:, None]


def quantise_int4(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Values, int8 of -7 to 7 [rows, inputs], and scales, float16 [rows, groups of `GROUP` inputs], of a finite matrix."""
    inputs = matrix.shape[1]
    groups = F.pad(matrix, (0, -inputs % GROUP)).unflatten(1, (-1, GROUP))  # [rows, groups, GROUP]
    values, scales = _round(groups, INT4_LARGEST)
    return values.flatten(1)[:, :inputs], scales


def dequantise_int4(values: Tensor, scales: Tensor) -> Tensor:
    """The float32 matrix [rows, inputs] that `quantise_int4` encoded."""
    return values.float() * scales.float().repeat_interleave(GROUP, 1)[:, : values.shape[1]]


def pack_pairs(values: Tensor) -> Tensor:
    """Two values of -7 to 7 per byte, the first in the low nibble: int8 [rows, inputs] to uint8 [rows, half the inputs, rounded up]."""
    halves = (F.pad(values, (0, values.shape[1] % 2)) + _INT4_ZERO).to(torch.uint8)
    return halves[:, 0::2] | halves[:, 1::2] << 4


def unpack_pairs(packed: Tensor, inputs: int) -> Tensor:
    """The values that `pack_pairs` packed, int8 [rows, inputs]."""
    halves = torch.stack((packed & 15, packed >> 4), 2).flatten(1)[:, :inputs]
    return halves.to(torch.int8) - _INT4_ZERO


def pack(weights: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """The tensors that a file of `storage` holds of `weights`; their names, types and shapes are those of `layout`."""
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if storage == "float16" or weight.ndim != 2:
            stored[name] = weight.detach().half().contiguous()
        elif storage == "int8":
            stored[name], stored[name + SCALE] = quantise_int8(weight.detach())
        else:
            values, stored[name + SCALE] = quantise_int4(weight.detach())
            stored[name + PACKED] = pack_pairs(values)
    return stored


def unpack(stored: Mapping[str, Tensor], shapes: Shapes, storage: Storage) -> dict[str, Tensor]:
    """Float32 weights of `shapes`, by name, from the tensors that `pack` made.

    Raises:
        KeyError: a tensor is missing.
    """
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if storage == "float16" or len(shape) != 2:
            weights[name] = stored[name].float()
        elif storage == "int8":
            weights[name] = dequantise_int8(stored[name], stored[name + SCALE])
        else:
            weights[name] = dequantise_int4(unpack_pairs(stored[name + PACKED], shape[1]), stored[name + SCALE])
    return weights


def _round(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Values of -`largest` to `largest`, int8 like `x`, and a scale for each of its last dimensions, float16 [...]."""
    exact = x.float().abs().amax(-1) / largest
    scales = _half_above(exact)
    values = (x.float() / scales.float().clamp_min(torch.finfo(torch.float32).tiny)[..., None]).round()
    return values.to(torch.int8), scales


def _half_above(x: Tensor) -> Tensor:
    """The least float16 that is not below `x`, float32 and non-negative."""
    half = x.half()
    above = (half.view(torch.int16) + 1).view(torch.float16)  # the bit patterns of positive floats are ordered like their values
    return torch.where(half.float() < x, above, half)
