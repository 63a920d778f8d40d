"""The layout of stored weights: the tensors and types of each storage, and the exact size of the file.

`float16` stores every tensor as it is. `int8` and `int4` do so with matrices only (two dimensions); all other tensors are small and
stay float16. An int8 matrix has one float16 scale per row. An int4 matrix has one per group of `GROUP` inputs of a row, and two
values per byte. `codenas.compress.quantise` makes these tensors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from codenas.arch.part import Shapes

Storage = Literal["float16", "int8", "int4"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
BITS: dict[Storage, int] = {"float16": 16, "int8": 8, "int4": 4}  # of a value in a matrix
GROUP = 64  # inputs that share a scale in int4
SCALE, PACKED = ".scale", ".packed"  # suffixes of the tensors with the scales and the packed values of a matrix

_BYTES = {"F16": 2, "I8": 1, "U8": 1}  # widest first, as safetensors sorts types
_LENGTH_BYTES, _ALIGNMENT = 8, 8  # a file begins with the length of its header, which is filled with spaces


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file; `dtype` as safetensors writes it."""

    dtype: Literal["F16", "I8", "U8"]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return _BYTES[self.dtype] * math.prod(self.shape)


def layout(shapes: Shapes, storage: Storage) -> dict[str, StoredTensor]:
    """The tensors that `storage` makes of weights with these shapes, by name."""
    stored: dict[str, StoredTensor] = {}
    for name, shape in shapes.items():
        if storage == "float16" or len(shape) != 2:
            stored[name] = StoredTensor("F16", shape)
        elif storage == "int8":
            stored[name] = StoredTensor("I8", shape)
            stored[name + SCALE] = StoredTensor("F16", shape[:1])
        else:
            rows, inputs = shape
            stored[name + PACKED] = StoredTensor("U8", (rows, math.ceil(inputs / 2)))
            stored[name + SCALE] = StoredTensor("F16", (rows, math.ceil(inputs / GROUP)))
    return stored


def file_bytes(stored: Mapping[str, StoredTensor]) -> int:
    """Bytes of the safetensors file that holds `stored` and no metadata: length, header, values.

    The header names for every tensor where it begins and ends, so its length depends on the order: by type, then by name.
    """
    header: dict[str, object] = {}
    end = 0
    order = list(_BYTES)
    for name, tensor in sorted(stored.items(), key=lambda item: (order.index(item[1].dtype), item[0])):
        begin, end = end, end + tensor.size_bytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (begin, end)}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return _LENGTH_BYTES + math.ceil(length / _ALIGNMENT) * _ALIGNMENT + end
