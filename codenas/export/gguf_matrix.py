"""A stored matrix, and its bytes in a GGUF file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.storage import GROUP, PACKED, SCALE, Storage
from codenas.compress.quantise import dequantise_int4, dequantise_int8, unpack_pairs

BLOCK = 32  # inputs that share a scale in Q8_0 and Q4_0
_Q4_ZERO = 8


@dataclass(frozen=True, slots=True)
class Matrix:
    """Values as stored, [rows, inputs]; tensors of one dimension are kept as they are.

    Attributes:
        values: float, or int8 where there are scales.
        scales: float16; [rows] for int8, [rows, groups of `GROUP` inputs] for int4, None for values that are not quantised.
    """

    values: Tensor
    scales: Tensor | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Tensor], name: str, shape: tuple[int, ...], storage: Storage) -> Self:
        """The matrix `name` of `shape` among the tensors of a file of `storage`."""
        if storage == "float16" or len(shape) != 2:
            return cls(stored[name])
        scales = stored[name + SCALE]
        values = stored[name] if storage == "int8" else unpack_pairs(stored[name + PACKED], shape[1])
        return cls(values, scales)

    def dequantised(self) -> Tensor:
        """Float32, [rows, inputs]."""
        if self.scales is None:
            return self.values.float()
        return (dequantise_int8 if self.scales.ndim == 1 else dequantise_int4)(self.values, self.scales)

    def with_rows(self, order: Tensor) -> Self:
        """The same rows, those of every head of `len(order)` rows in `order`."""
        rows = torch.arange(len(self.values)).unflatten(0, (-1, len(order)))[:, order].flatten()
        return replace(self, values=self.values[rows], scales=None if self.scales is None else self.scales[rows])

    def padded(self, rows: int = 0, inputs: int = 0) -> Self:
        """At least `rows` rows and `inputs` inputs; what is added is zero."""
        below, behind = max(0, rows - self.values.shape[0]), max(0, inputs - self.values.shape[1])
        values, scales = F.pad(self.values, (0, behind, 0, below)), self.scales
        if scales is not None and scales.ndim == 1:
            scales = F.pad(scales, (0, below))
        elif scales is not None:
            scales = F.pad(scales, (0, -(-values.shape[1] // GROUP) - scales.shape[1], 0, below))
        return replace(self, values=values, scales=scales)

    def encoded(self, float32: bool = False) -> tuple[Any, Any]:
        """The array for a GGUF file and its type: as stored where the inputs are whole blocks, else dequantised to float32.

        Args:
            float32: dequantise in any case.
        """
        from gguf import GGMLQuantizationType as Type

        if self.values.ndim == 1 or float32:
            return self.dequantised().numpy(), Type.F32
        if self.scales is None:
            return self.values.numpy(), Type.F16 if self.values.dtype == torch.float16 else Type.F32
        if self.values.shape[1] % BLOCK:
            return self.dequantised().numpy(), Type.F32
        blocks = self.values.unflatten(1, (-1, BLOCK))  # [rows, blocks, BLOCK]
        if self.scales.ndim == 1:
            scales = self.scales[:, None].expand(blocks.shape[:2])
            return _joined(scales, blocks.contiguous().view(torch.uint8)), Type.Q8_0
        scales = self.scales.repeat_interleave(GROUP // BLOCK, 1)[:, : blocks.shape[1]]
        nibbles = (blocks + _Q4_ZERO).to(torch.uint8)
        return _joined(scales, nibbles[..., : BLOCK // 2] | nibbles[..., BLOCK // 2 :] << 4), Type.Q4_0


def _joined(scales: Tensor, bytes_of_values: Tensor) -> Any:
    """Blocks of a float16 scale and the bytes of its values, as uint8 [rows, bytes]."""
    heads = scales.contiguous().view(torch.uint8).unflatten(1, (-1, 2))
    joined: np.ndarray[Any, Any] = torch.cat((heads, bytes_of_values), 2).flatten(1).numpy()
    return joined
