"""The training loss."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(scores: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean nats per target. `scores` [batch, tokens, vocab], `targets` [batch, tokens]; computed in float32."""
    return F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), label_smoothing=label_smoothing)
