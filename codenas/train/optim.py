"""Muon or AdamW for matrices, AdamW for the rest, with rates that transfer over widths.

Muon replaces the momentum of a matrix by a nearly (semi-)orthogonal one (Jordan et al. 2024), times sqrt(rows / columns): so every
entry of the matrix' output moves by as much, whatever its shape and the model's width, and one rate serves all (the spectral
condition: Yang, Simon and Bernstein 2023). Muon's updates of all layers add up in the residual stream: its rate falls with
1/sqrt(depth) (Tensor Programs VI: Yang et al. 2023).
Adam's update of an embedding has entries of fixed size, and moves the logits of a tied head by up to width times the rate: that
rate falls with 1/width (of the table: its rank, where it is factorised), as that of muP's output layer (Yang et al. 2022, table 8).
Gains are of size one at every width: one rate. Where AdamW trains the matrices too, their rate falls with 1/fan-in (muP), at every
depth. `docs/fairness.md` has what was measured.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codenas.errors import CheckpointError
from codenas.train.config import TrainConfig

BASE_WIDTH, BASE_DEPTH = 256, 4
TABLES = ("embedding.weight", "positions.weight", "head.weight")  # a row for each token or position; all other matrices are maps
# Odd quintics, each the nearest to one on the interval into which those before it send [0.003, 1].
_QUINTICS = ((8.3838, -24.7664, 18.3574), (4.0434, -3.0114, 0.5695), (3.5056, -2.6267, 0.5257), (2.4901, -1.8343, 0.4368))
_SAFETY = 1.02  # above its interval a quintic soars: room for what bfloat16 rounds


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices of a stack [count, rows, columns], roughly: singular values come to lie between about 0.75 and 1.2.

    In bfloat16, by the best polynomial that four steps of Newton-Schulz's kind can make (Amsel et al. 2025). It needs singular
    values of at most one, and wastes a step where they are far below: the root of the Gram matrix's norm is a bound that is up to
    four times closer at rank 256 than the matrix's norm. So four steps train as well as the five of Jordan et al. (2024). What is
    below a 200th of that bound stays smaller.
    """
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = x @ x.mT
    bound = gram.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)  # of what is all but zero it would be zero: all but zero must come of it
    x, gram = x * bound.rsqrt(), gram / bound
    for step, (a, b, c) in enumerate(_QUINTICS):
        if step > 0:
            gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b / _SAFETY**3, alpha=c / _SAFETY**5)
        x = torch.baddbmm(x, polynomial, x, beta=a / _SAFETY)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates. Parameters of one shape are stacked: one call instead of one per matrix."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalise(torch.stack(self._nesterov(parameters, group["momentum"])))
                self._move(parameters, updates, group["lr"], (shape[0] / shape[1]) ** 0.5, group["weight_decay"])

    def _nesterov(self, parameters: list[nn.Parameter], momentum: float) -> list[Tensor]:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum))

    @staticmethod
    def _move(parameters: Sequence[Tensor], updates: Tensor, rate: float | Tensor, scale: float, decay: float) -> None:
        """Move all by `updates` [count, rows, columns]. A rate that is a tensor is read by the device alone: its step can be recorded."""
        weights = list(parameters)
        if decay:
            torch._foreach_mul_(weights, 1 - rate * decay)
        if isinstance(rate, Tensor):
            torch._foreach_add_(weights, updates.mul_(-rate * scale).unbind())
        else:
            torch._foreach_add_(weights, updates.unbind(), alpha=-rate * scale)


_SLOTS: dict[type[torch.optim.Optimizer], set[str]] = {Muon: {"momentum"}, torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"}}


def build_optimizers(model: nn.Module, config: TrainConfig, depth: int) -> list[torch.optim.Optimizer]:
    """Muon over the matrices (or AdamW), AdamW over tables and gains; each group keeps its `base_rate`."""
    matrices: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    gains: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        # A depthwise convolution, [channels, 1, width], is a bundle of vectors: nothing in it to orthogonalise.
        home = gains if parameter.ndim != 2 else tables if name in TABLES else matrices
        home.append(parameter)
    rest = [*_by_fan_in(tables, config.embedding_rate, 0.0), {"params": gains, "lr": config.gain_rate}]
    optimizers: list[torch.optim.Optimizer] = (
        [Muon(matrices, config.matrix_rate * (BASE_DEPTH / depth) ** 0.5, config.momentum, config.weight_decay), _adamw(rest, config)]
        if config.optimizer == "muon"
        else [_adamw([*_by_fan_in(matrices, config.adam_rate, config.weight_decay), *rest], config)]
    )
    device = next(model.parameters()).device
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_rate"] = group["lr"]
            if config.cuda_graph:  # a number would be recorded as it was
                group["lr"] = torch.tensor(group["lr"], device=device)
    return optimizers


def _adamw(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, betas=config.betas, eps=1e-10, weight_decay=0.0, fused=True, capturable=config.cuda_graph)


def _by_fan_in(matrices: list[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """One group for each fan-in, as the entries of a wider matrix must move less (muP: Yang et al. 2022, table 8)."""
    groups: dict[int, list[nn.Parameter]] = defaultdict(list)
    for matrix in matrices:
        groups[matrix.shape[1]].append(matrix)
    return [
        # The decay is a share of the rate in AdamW; divided by it, matrices of every width forget at one pace.
        {"params": group, "lr": rate * BASE_WIDTH / fan_in, "weight_decay": decay * fan_in / BASE_WIDTH}
        for fan_in, group in sorted(groups.items())
    ]


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` times its base; a rate that is a tensor stays where it is."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["base_rate"] * factor)
            else:
                group["lr"] = group["base_rate"] * factor


def state_tensors(optimizers: list[torch.optim.Optimizer], names: dict[Tensor, str]) -> dict[str, Tensor]:
    """The optimizers' memory as named tensors, `parameter/slot`: what safetensors can hold."""
    return {
        f"{names[parameter]}/{slot}": value
        for optimizer in optimizers
        for parameter, slots in optimizer.state.items()
        for slot, value in slots.items()
    }


def load_state_tensors(optimizers: list[torch.optim.Optimizer], names: dict[Tensor, str], tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`; copies, to where the parameters live.

    Raises:
        CheckpointError: `tensors` are those of another optimizer.
    """
    slots: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        parameter_name, _, slot = key.rpartition("/")
        slots[parameter_name][slot] = value
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if names[parameter] in slots:
                    own = slots[names[parameter]]
                    if own.keys() != (expected := _SLOTS[type(optimizer)]):
                        raise CheckpointError(
                            f"the state of another optimizer: of {names[parameter]} it holds {', '.join(sorted(own))}, "
                            f"{type(optimizer).__name__} needs {', '.join(sorted(expected))}; train with the optimizer of that state"
                        )
                    optimizer.state[parameter] = {slot: value.to(parameter.device, copy=True) for slot, value in own.items()}
