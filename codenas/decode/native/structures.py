"""The structures of the C interface (`codenas_native.h`), made from specifications and stored tensors."""

import ctypes
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codenas.arch.mixers import MixerSpec
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.part import Shapes
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import GROUP, PACKED, SCALE

Tensors = Mapping[str, NDArray[Any]]

_DTYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int8): 2, np.dtype(np.uint8): 3}
_ACTIVATIONS = ("gelu", "silu", "relu2", "geglu", "swiglu")
_NORMS = ("layernorm", "rmsnorm", "groupnorm")
_POSITIONS = ("rope", "alibi", "absolute", "none")

_INT = ctypes.c_int32


class Mixer(ctypes.Structure):
    """`cn_mixer`."""

    _fields_ = [
        (name, _INT)
        for name in ("kind", "n_heads", "n_kv_heads", "head_width", "window", "qk_norm", "state_width", "conv_width", "rank", "gate_rank")
    ]


class Arch(ctypes.Structure):
    """`cn_arch`."""

    _fields_ = [
        *(
            (name, _INT)
            for name in (
                *("d_model", "n_layers", "hidden", "activation", "norm", "position"),
                *("context_len", "vocab_size", "embedding_rank", "tie_embeddings"),
            )
        ),
        ("mixers", ctypes.POINTER(Mixer)),
    ]


class Tensor(ctypes.Structure):
    """`cn_tensor`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("values", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("dtype", _INT),
    ]


class Options(ctypes.Structure):
    """`cn_options`."""

    _fields_ = [(name, _INT) for name in ("slots", "max_tokens", "threads")]


def supports(arch: ArchSpec) -> bool:
    """Whether the library has all mixers of `arch`."""
    return all(type(mixer) in _MIXERS for mixer in arch.pattern)


def arch_structure(arch: ArchSpec, vocab_size: int) -> Arch:
    """`arch` for the library."""
    mixers = (Mixer * arch.n_layers)(*(_MIXERS[type(mixer)](mixer, arch.d_model) for mixer in arch.layers()))
    return Arch(
        d_model=arch.d_model,
        n_layers=arch.n_layers,
        hidden=arch.feedforward.hidden_width(arch.d_model),
        activation=_ACTIVATIONS.index(arch.feedforward.activation),
        norm=_NORMS.index(arch.norm),
        position=_POSITIONS.index(arch.position),
        context_len=arch.context_len,
        vocab_size=vocab_size,
        embedding_rank=arch.embedding_rank or 0,
        tie_embeddings=arch.tie_embeddings,
        mixers=mixers,
    )


def tensor_structures(tensors: Tensors, shapes: Shapes) -> "ctypes.Array[Tensor]":
    """The stored `tensors` of a checkpoint whose weights have `shapes`, or float32 ones by the same names; they must outlive the result.

    Raises:
        ValueError: a tensor is missing, or its type or shape is not that of a storage.
    """
    return (Tensor * len(shapes))(*(_tensor(tensors, name, shape) for name, shape in shapes.items()))


def _tensor(tensors: Tensors, name: str, shape: tuple[int, ...]) -> Tensor:
    values, scales = tensors.get(name, tensors.get(name + PACKED)), tensors.get(name + SCALE)
    if values is None:
        raise ValueError(f"{name} is missing")
    stored = (shape[0], math.ceil(shape[1] / 2)) if values.dtype == np.uint8 else shape
    groups = shape[:1] if values.dtype == np.int8 else (shape[0], math.ceil(shape[-1] / GROUP))
    for array, wanted in ((values, stored), *(() if scales is None else ((scales, groups),))):
        if array.dtype not in _DTYPES or array.shape != wanted or not array.flags.c_contiguous:
            raise ValueError(
                f"{name} is stored as {array.dtype} {array.shape}; {wanted} in float32, float16, int8 or pairs of int4 is needed"
            )
    rows, columns = shape[0], math.prod(shape[1:])
    return Tensor(name.encode(), values.ctypes.data, None if scales is None else scales.ctypes.data, rows, columns, _DTYPES[values.dtype])


def _attention(mixer: AttentionSpec, d_model: int) -> Mixer:
    return Mixer(
        kind=0,
        n_heads=mixer.n_heads,
        n_kv_heads=mixer.n_kv_heads,
        head_width=mixer.head_width(d_model),
        window=mixer.window or 0,
        qk_norm=mixer.qk_norm,
    )


def _linear_attention(mixer: LinearAttentionSpec, d_model: int) -> Mixer:
    return Mixer(kind=1, n_heads=mixer.n_heads, head_width=mixer.head_width(d_model))


def _mamba2(mixer: MambaSpec, d_model: int) -> Mixer:
    return Mixer(
        kind=2,
        n_heads=mixer.n_heads(d_model),
        head_width=mixer.head_width,
        state_width=mixer.state_width,
        conv_width=mixer.conv_width,
    )


def _rwkv7(mixer: RwkvSpec, d_model: int) -> Mixer:
    return Mixer(kind=3, n_heads=mixer.n_heads(d_model), head_width=mixer.head_width, rank=mixer.rank, gate_rank=mixer.gate_rank)


# The mixers that the library has; `kind` is their number in `cn_mixer_kind`.
_MIXERS: dict[type[MixerSpec], Callable[[Any, int], Mixer]] = {
    AttentionSpec: _attention,
    LinearAttentionSpec: _linear_attention,
    MambaSpec: _mamba2,
    RwkvSpec: _rwkv7,
}
