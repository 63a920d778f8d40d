"""CUDA's rules of automatic mixed precision, on a CPU: what a training step would meet on a GPU, without one.

Under autocast the two devices agree on products of matrices and on little else: on a GPU `sum`, `exp`, `rsqrt`, `rms_norm` and dozens
more return float32 where a CPU returns what it was given. A gradient written by hand then meets two precisions where it met one.

The dispatcher of a torch built without CUDA still knows which operators CUDA's autocast treats; how it treats them is in
ATen/autocast_mode.h: nearly all run in float32, and the exceptions are listed here. `cuda_rules` registers the same for CPUs, in the
dispatcher, so that operators called by operators of torch obey too; and it sends models along the paths that they take on a GPU.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import _scoped_library
from torch.utils._pytree import tree_map

from codenas.model import norms, positions
from codenas.model.mixers import attention, blockwise, rwkv7

_CUDA, _CPU = "AutocastCUDA", "AutocastCPU"
_REDUCED = ("einsum", "addmv", "addr", "mv", "linalg_multi_dot", "chain_matmul", "_convolution", "convolution")
_WIDEST = ("addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "index_put", "tensordot", "scatter_add")
_SUMMED_IN_FLOAT32 = ("softmax", "log_softmax", "cumprod", "cumsum", "linalg_vector_norm", "linalg_matrix_norm", "sum")
_FOREIGN = ("cudnn_convolution", "cudnn_convolution_transpose", "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell")  # of GPUs alone


@contextlib.contextmanager
def cuda_rules() -> Iterator[None]:
    """Inside, `torch.autocast("cpu", ...)` follows CUDA's rules and models follow the paths that they take on a GPU."""
    with _scoped_library("aten", "IMPL") as library, pytest.MonkeyPatch.context() as patched:
        for operator in _treated_by_cuda_alone():
            library.impl(operator, _obeying(operator), _CPU)
        for module in (norms, positions, blockwise):
            patched.setattr(module, "custom_backward", lambda x: False)
        patched.setattr(attention, "LONGEST_IN_BLOCKS", -1)
        patched.setattr(rwkv7, "STRETCH", 2**40)
        yield


def _treated_by_cuda_alone() -> list[str]:
    """The operators that CUDA's autocast treats and a CPU's does not; both treat products of matrices, and alike."""
    treats: Callable[[str, str], bool] = torch._C._dispatch_has_kernel_for_dispatch_key
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    return [name for name in names if treats(name, _CUDA) and not treats(name, _CPU) and _base(name) not in _FOREIGN]


def _base(operator: str) -> str:
    return operator.removeprefix("aten::").partition(".")[0]


def _obeying(operator: str) -> Callable[..., Any]:
    """What stands in front of `operator` under autocast: it casts, and calls it with autocast switched off."""
    packet, _, overload = operator.removeprefix("aten::").partition(".")
    call = getattr(getattr(torch.ops.aten, packet), overload or "default")
    off = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
    takes_dtype = any(argument.name == "dtype" for argument in call._schema.arguments)

    def obey(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(off):
            if packet in _SUMMED_IN_FLOAT32 and takes_dtype:
                reduced = kwargs.get("dtype") is None and args[0].is_floating_point() and args[0].dtype != torch.float64
                return call(*args, **kwargs | ({"dtype": torch.float32} if reduced else {}))
            args, kwargs = tree_map(_cast_to(_precision(packet, (args, kwargs))), (args, kwargs))
            return call(*args, **kwargs)

    return obey


def _precision(packet: str, given: Any) -> torch.dtype:
    if packet in _REDUCED:
        return torch.get_autocast_dtype("cpu")
    if packet not in _WIDEST:
        return torch.float32
    found: list[torch.dtype] = []
    tree_map(lambda x: found.append(x.dtype) if _is_cast(x) else None, given)
    return torch.float32 if torch.float32 in found else torch.get_autocast_dtype("cpu")


def _cast_to(dtype: torch.dtype) -> Callable[[Any], Any]:
    return lambda x: x.to(dtype) if _is_cast(x) else x


def _is_cast(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
