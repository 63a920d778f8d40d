"""Rounding of matrices to 8 or 4 bits and back, and the packing of both into what a file holds (`codenas.arch.storage`).

Symmetric: a number stands for itself times the scale of its row (int8) or of its group of inputs (int4), zero is zero. Scales are
rounded up to float16, so that the largest weight stays in range and no weight moves by more than half a scale.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.part import Shapes
from codenas.arch.storage import GROUP, PACKED, SCALE, Storage

INT8_LARGEST, INT4_LARGEST = 127, 7
_INT4_ZERO = 8  # half a byte holds -7 to 7 as 1 to 15


def quantise_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers, int8 [rows, inputs], and scales, float16 [rows], of a finite matrix [rows, inputs]."""
    return _round(matrix, INT8_LARGEST)


def dequantise_int8(numbers: Tensor, scales: Tensor) -> Tensor:
    """The float32 matrix [rows, inputs] that `quantise_int8` kept."""
    return numbers.float() * scales.float()[:, None]


def quantise_int4(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers, int8 of -7 to 7 [rows, inputs], and scales, float16 [rows, groups of `GROUP` inputs], of a finite matrix."""
    inputs = matrix.shape[1]
    groups = F.pad(matrix, (0, -inputs % GROUP)).unflatten(1, (-1, GROUP))  # [rows, groups, GROUP]
    numbers, scales = _round(groups, INT4_LARGEST)
    return numbers.flatten(1)[:, :inputs], scales


def dequantise_int4(numbers: Tensor, scales: Tensor) -> Tensor:
    """The float32 matrix [rows, inputs] that `quantise_int4` kept."""
    return numbers.float() * scales.float().repeat_interleave(GROUP, 1)[:, : numbers.shape[1]]


def pack_pairs(numbers: Tensor) -> Tensor:
    """Two of -7 to 7 to a byte, the first in its low half: int8 [rows, inputs] to uint8 [rows, half the inputs, rounded up]."""
    halves = (F.pad(numbers, (0, numbers.shape[1] % 2)) + _INT4_ZERO).to(torch.uint8)
    return halves[:, 0::2] | halves[:, 1::2] << 4


def unpack_pairs(packed: Tensor, inputs: int) -> Tensor:
    """What `pack_pairs` packed, int8 [rows, inputs]."""
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
            numbers, stored[name + SCALE] = quantise_int4(weight.detach())
            stored[name + PACKED] = pack_pairs(numbers)
    return stored


def unpack(stored: Mapping[str, Tensor], shapes: Shapes, storage: Storage) -> dict[str, Tensor]:
    """Float32 weights of `shapes`, by name, from what `pack` made of them.

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
    """Numbers of -`largest` to `largest`, int8 like `x`, and a scale for each of its last dimensions, float16 [...]."""
    exact = x.float().abs().amax(-1) / largest
    scales = _half_above(exact)
    numbers = (x.float() / scales.float().clamp_min(torch.finfo(torch.float32).tiny)[..., None]).round()
    return numbers.to(torch.int8), scales


def _half_above(x: Tensor) -> Tensor:
    """The least float16 that is no smaller than `x`, float32 and not negative."""
    half = x.half()
    above = (half.view(torch.int16) + 1).view(torch.float16)  # the bits of positive floats count in their order
    return torch.where(half.float() < x, above, half)
