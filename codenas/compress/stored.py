"""A model as a file of weights holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from codenas.arch.cost import tensors as shapes_of
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import Storage
from codenas.compress.quantise import pack, unpack


@dataclass(frozen=True, slots=True)
class StoredModel:
    """An architecture with its stored tensors: what an engine that decodes is made from.

    Attributes:
        tensors: those of a file of `storage`, by name (`codenas.arch.storage`).
    """

    arch: ArchSpec
    vocab_size: int
    storage: Storage
    tensors: Mapping[str, Tensor] = field(repr=False)

    @classmethod
    def packed(cls, arch: ArchSpec, vocab_size: int, storage: Storage, weights: Mapping[str, Tensor]) -> Self:
        """What a file of `storage` holds of float32 `weights`."""
        return cls(arch, vocab_size, storage, pack(weights, storage))

    def weights(self) -> dict[str, Tensor]:
        """The dequantised weights, float32.

        Raises:
            KeyError: a tensor is missing.
        """
        return unpack(self.tensors, shapes_of(self.arch, self.vocab_size), self.storage)
