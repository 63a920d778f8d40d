"""The backend of the decoding engine over the native library."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from codenas.arch.cost import tensors as tensor_shapes
from codenas.arch.spec import ArchSpec
from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend, ForwardBatch, Logits, StateBlock
from codenas.decode.native.library import load_library
from codenas.decode.native.structures import Options, Tensors, arch_structure, tensor_structures
from codenas.errors import ResourceError

_INVALID, _NO_MEMORY = 1, 2  # error codes of codenas_native.h


@dataclass(slots=True, frozen=True)
class NativeOptions:
    """How a model is run.

    Attributes:
        slots: most sequences at a time.
        max_tokens: most tokens of one forward pass.
        threads: that compute, the caller's included.
        target: instruction set, one of `library.TARGETS`; None is the best one.
    """

    slots: int = 1
    max_tokens: int = 512
    threads: int = 1
    target: str | None = None


@dataclass(slots=True, frozen=True)
class NativeStateBlock:
    """A `StateBlock` in the bytes of the library."""

    start: int
    stop: int
    data: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        return self.data.nbytes


class NativeBackend(Backend):
    """A model in the native library. Weights are packed from the tensors as they are stored, so none is quantised twice.

    One thread may call it at a time. The library and its memory live as long as the object.
    """

    def __init__(self, arch: ArchSpec, vocab_size: int, tensors: Tensors, options: NativeOptions | None = None) -> None:
        """Pack `tensors`: those of a checkpoint's file by name, or the float32 weights of a model.

        Raises:
            ConfigError: the library is not built, or cannot run here.
            ResourceError: there is no memory.
            ValueError: a tensor is missing, or is not one of `arch`; a mixer is not in the library; an option is out of range.
        """
        options = options or NativeOptions()
        self._library = load_library(options.target)
        self._model = ctypes.c_void_p()
        self.vocab_size, self.context_len = vocab_size, arch.context_len
        self.slots, self.max_tokens = options.slots, options.max_tokens
        structures = tensor_structures(tensors, tensor_shapes(arch, vocab_size))
        given = Options(options.slots, options.max_tokens, options.threads)
        described = arch_structure(arch, vocab_size)
        created = self._library.cn_create(
            ctypes.byref(described), structures, len(structures), ctypes.byref(given), ctypes.byref(self._model)
        )
        self._check(created)
        self.truncatable = bool(self._library.cn_truncatable(self._model))
        # A call with fixed arrays costs a fraction of one that asks numpy for their addresses.
        self._tokens, self._slots, self._positions, self._wanted = (np.empty(self.max_tokens, np.int32) for _ in range(4))
        self._logits = np.empty((self.max_tokens, vocab_size), np.float32)
        arrays = (self._tokens, self._slots, self._positions, self._wanted, self._logits)
        self._addresses = [ctypes.c_void_p(array.ctypes.data) for array in arrays]

    @classmethod
    def from_stored(cls, stored: StoredModel, options: NativeOptions | None = None) -> Self:
        """The backend of a checkpoint's model; raises as the constructor does."""
        return cls(stored.arch, stored.vocab_size, {name: tensor.numpy() for name, tensor in stored.tensors.items()}, options)

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._library.cn_destroy(self._model)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights."""
        return int(self._library.cn_weight_bytes(self._model))

    def forward(self, batch: ForwardBatch) -> Logits:
        n, m = len(batch.tokens), len(batch.wanted)
        if max(n, m) > self.max_tokens:
            raise ValueError(f"{max(n, m)} tokens are more than the {self.max_tokens} of a forward pass")
        self._tokens[:n], self._slots[:n], self._positions[:n] = batch.tokens, batch.slots, batch.positions
        self._wanted[:m] = batch.wanted
        tokens, slots, positions, wanted, logits = self._addresses
        self._check(self._library.cn_forward(self._model, n, tokens, slots, positions, m, wanted, logits))
        return self._logits[:m]

    def length(self, slot: int) -> int:
        return int(self._library.cn_length(self._model, slot))

    def reset(self, slot: int) -> None:
        self._check(self._library.cn_reset(self._model, slot))

    def copy(self, source: int, target: int) -> None:
        self._check(self._library.cn_copy(self._model, source, target))

    def truncate(self, slot: int, length: int) -> None:
        self._check(self._library.cn_truncate(self._model, slot, length))

    def mark(self, slot: int) -> None:
        self._check(self._library.cn_mark(self._model, slot))

    def rewind(self, slot: int) -> None:
        self._check(self._library.cn_rewind(self._model, slot))

    def save(self, slot: int, start: int, stop: int) -> StateBlock:
        size = ctypes.c_size_t()
        self._check(self._library.cn_saved_bytes(self._model, slot, start, stop, ctypes.byref(size)))
        data = np.empty(size.value, np.uint8)
        self._check(self._library.cn_save(self._model, slot, start, stop, data.ctypes.data))
        return NativeStateBlock(start, stop, data)

    def restore(self, slot: int, blocks: Sequence[StateBlock]) -> None:
        self.reset(slot)
        for block in cast(Sequence[NativeStateBlock], blocks):
            data = block.data
            self._check(self._library.cn_restore(self._model, slot, block.start, block.stop, data.ctypes.data, data.nbytes))

    def state_bytes(self, length: int) -> int:
        return int(self._library.cn_state_bytes(self._model, length))

    def _check(self, code: int) -> None:
        if code:
            message = self._library.cn_error().decode()
            raise ValueError(message) if code == _INVALID else ResourceError(message) if code == _NO_MEMORY else RuntimeError(message)
