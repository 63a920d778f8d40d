"""Position-wise networks: two matrices, or three where a gate multiplies (Shazeer 2020)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch.spec import GATED, Activation, FeedForwardSpec


def relu2(x: Tensor) -> Tensor:
    """relu(x) ** 2 (So et al. 2021)."""
    return F.relu(x).square()


_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "relu2": relu2,
    "geglu": F.gelu,
    "swiglu": F.silu,
}


class FeedForward(nn.Module):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)). Shape [..., d_model] in and out."""

    def __init__(self, spec: FeedForwardSpec, d_model: int) -> None:
        super().__init__()
        hidden = spec.hidden_width(d_model)
        self.activation = _ACTIVATIONS[spec.activation]
        self.gate = nn.Linear(d_model, hidden, bias=False) if spec.activation in GATED else None
        self.up = nn.Linear(d_model, hidden, bias=False)
        self.down = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))
