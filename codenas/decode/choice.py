"""The choice of a backend, here and nowhere else: the native library where it is built and knows the design, otherwise torch."""

from dataclasses import dataclass
from typing import Literal

import torch

from codenas.arch.spec import ArchSpec
from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend
from codenas.decode.native.backend import NativeBackend, NativeOptions
from codenas.decode.native.library import available_targets
from codenas.decode.native.structures import supports
from codenas.decode.torch_backend import TorchBackend
from codenas.model import uninitialized_model

AS_STORED = "as stored"  # the precision of a backend that reads the weights as they are stored


@dataclass(slots=True, frozen=True)
class BackendOptions:
    """Where and how a model is run.

    Attributes:
        slots: most sequences at a time.
        max_tokens: most tokens of one forward pass.
        threads: of the native library; torch has as many as its process says.
        device: of torch.
        precision: of torch's arithmetic: float32, bfloat16 or float16. On a CPU, others than float32 are torch's alone.
    """

    slots: int = 1
    max_tokens: int = 512
    threads: int = 1
    device: str = "cpu"
    precision: str = "float32"


@dataclass(slots=True, frozen=True)
class BackendChoice:
    """What decodes a model.

    Attributes:
        name: the backend.
        precision: of its arithmetic.
        detail: of the native library the instruction set; of torch why it is not the native library.
    """

    name: Literal["native", "torch"]
    precision: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name} backend, {self.precision} ({self.detail})"


def choose_backend(arch: ArchSpec, options: BackendOptions) -> BackendChoice:
    """What `open_backend` opens for a model of `arch`."""
    targets = available_targets()
    obstacle = (
        f"on {options.device}" if options.device != "cpu"
        else f"asked for {options.precision}" if options.precision != "float32"
        else "the native library is not built: make native" if not targets
        else "the native library lacks a mixer of this design" if not supports(arch)
        else None
    )  # fmt: skip
    return BackendChoice("native", AS_STORED, targets[0]) if obstacle is None else BackendChoice("torch", options.precision, obstacle)


def open_backend(model: StoredModel, options: BackendOptions) -> Backend:
    """The backend of `choose_backend` with the weights of `model`.

    Raises:
        ResourceError: there is no memory.
    """
    if choose_backend(model.arch, options).name == "native":
        return native_backend(model, options)
    return torch_backend(model, options)


def native_backend(model: StoredModel, options: BackendOptions) -> NativeBackend:
    """`model` in the native library.

    Raises:
        ConfigError: the library is not built.
        ResourceError: there is no memory.
        ValueError: the library lacks a mixer of the design.
    """
    return NativeBackend.from_stored(model, NativeOptions(options.slots, max(options.max_tokens, options.slots), options.threads))


def torch_backend(model: StoredModel, options: BackendOptions) -> TorchBackend:
    """`model` in torch, dequantised."""
    built = uninitialized_model(model.arch, model.vocab_size)
    built.load_state_dict(model.weights())
    precision: torch.dtype = getattr(torch, options.precision)
    return TorchBackend(built.to(device=options.device, dtype=precision).eval(), options.slots, max(options.max_tokens, options.slots))
