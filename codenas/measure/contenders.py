"""The engines that `measure_speeds` can time: ours over a checkpoint, and llama.cpp over a GGUF file of the same weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch

from codenas.arch.storage import Storage
from codenas.checkpoint import WEIGHTS, Checkpoint
from codenas.decode.choice import AS_STORED, BackendOptions, torch_backend
from codenas.decode.native.backend import NativeBackend, NativeOptions
from codenas.decode.native.library import load_library
from codenas.measure.llama_cpp import LlamaCpp, llama_cpp_version
from codenas.measure.served import context_on
from codenas.measure.workload import MAX_BATCH, Decoder
from codenas.metrics import LatencyContext


@dataclass(frozen=True, slots=True)
class Contender(ABC):
    """An engine with its weights. It is pickled to be loaded in another process.

    Attributes:
        name: of the engine and its weights, such as `native int8`.
        path: the checkpoint or file that it loads.
        storage: of the checkpoint that its weights are from.
        threads: of its computations.
    """

    name: str
    path: Path
    storage: Storage
    threads: int

    @property
    @abstractmethod
    def context(self) -> LatencyContext:
        """What its times are measured on."""

    @property
    @abstractmethod
    def weights_bytes(self) -> int:
        """Bytes of its file of weights."""

    @abstractmethod
    def load_libraries(self) -> None:
        """Load what is not particular to its model."""

    @abstractmethod
    def open(self, slots: int, context_len: int) -> Decoder:
        """Load the model for `slots` sequences of up to `context_len` tokens."""


class TorchContender(Contender):
    """Torch over a checkpoint: the weights are dequantised to float32."""

    __slots__ = ()

    @property
    def context(self) -> LatencyContext:
        return context_on("cpu", self.threads, "torch", "float32")

    @property
    def weights_bytes(self) -> int:
        return (self.path / WEIGHTS).stat().st_size

    def load_libraries(self) -> None:
        torch.set_num_threads(self.threads)

    def open(self, slots: int, context_len: int) -> Decoder:
        torch.set_num_threads(self.threads)
        return torch_backend(Checkpoint.open(self.path).load_stored(), BackendOptions(slots, MAX_BATCH))


@dataclass(frozen=True, slots=True)
class NativeContender(Contender):
    """The native library over a checkpoint.

    Attributes:
        target: instruction set, one of `codenas.decode.native.library.TARGETS`; None is the best one.
    """

    target: str | None = None

    @property
    def context(self) -> LatencyContext:
        return context_on("cpu", self.threads, "native", AS_STORED)

    @property
    def weights_bytes(self) -> int:
        return (self.path / WEIGHTS).stat().st_size

    def load_libraries(self) -> None:
        load_library(self.target)

    def open(self, slots: int, context_len: int) -> Decoder:
        options = NativeOptions(slots, max(MAX_BATCH, slots), self.threads, self.target)
        return NativeBackend.from_stored(Checkpoint.open(self.path).load_stored(), options)


class LlamaCppContender(Contender):
    """llama.cpp over a GGUF file."""

    __slots__ = ()

    @property
    def context(self) -> LatencyContext:
        return context_on("cpu", self.threads, "llama.cpp", self.name.split()[-1])

    @property
    def weights_bytes(self) -> int:
        return self.path.stat().st_size

    def load_libraries(self) -> None:
        llama_cpp_version()

    def open(self, slots: int, context_len: int) -> Decoder:
        return LlamaCpp(self.path, slots, self.threads, context_len)
