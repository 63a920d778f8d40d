"""Where a function has a hand-written backward pass."""

import torch
from torch import Tensor


def custom_backward(x: Tensor) -> bool:
    """Whether a hand-written backward pass pays off for a function of `x`: in training, on a CPU.

    A GPU has fused kernels, torch's compiler generates its own, and inference needs no backward pass.
    """
    return torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling()
