"""The training loss."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOGITS_AT_ONCE = 2**20  # what is made of them in float32, 4 MB, stays in a core's cache


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean nats per target. `logits` [batch, tokens, vocab], `targets` [batch, tokens]; computed in float32."""
    logits, targets = logits.flatten(0, 1), targets.flatten()
    if logits.device.type == "cpu":
        loss: Tensor = _InPieces.apply(logits, targets, label_smoothing)  # type: ignore[no-untyped-call]
        return loss
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)


class _InPieces(torch.autograd.Function):
    """Cross-entropy and its gradient, a few rows at a time.

    torch's own walks over all logits in float32 for every single operation of it, and keeps three copies of them: the memory that
    a training peaks at, and a tenth of a small model's time. The gradient is as cheap to make on the way forward: the softmax is there.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        count, vocab_size = logits.shape
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if wanted else None
        sharp, even = 1 - label_smoothing, label_smoothing / vocab_size
        nats = torch.zeros((), dtype=torch.float32)
        rows = max(1, _LOGITS_AT_ONCE // vocab_size)
        for first in range(0, count, rows):
            some, target = logits[first : first + rows].float(), targets[first : first + rows, None]
            probabilities = some.softmax(-1)
            # The logarithm of the largest one is safe; that of a target's may be of nothing.
            total = some.amax(-1) - probabilities.amax(-1).log()
            nats += (total - sharp * some.gather(1, target)[:, 0]).sum()
            if even:
                nats -= even * some.sum()
                probabilities.sub_(even)
            if gradient is not None:
                probabilities.scatter_add_(1, target, torch.full_like(target, -sharp, dtype=torch.float32))
                gradient[first : first + rows] = probabilities.div_(count)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return nats / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient if upstream[0] == 1 else gradient * upstream[0], None, None
