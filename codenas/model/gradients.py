"""Where a function's way back is written out by hand."""

import torch
from torch import Tensor


def own_gradients(x: Tensor) -> bool:
    """Whether a way back of our own pays for a function of `x`: in training on a processor.

    A GPU has kernels that are whole, torch's compiler makes some of what is plain, and who only looks ahead wants the shortest way.
    """
    return torch.is_grad_enabled() and not x.is_cuda and not torch.compiler.is_compiling()
