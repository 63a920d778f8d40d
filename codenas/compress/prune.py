"""Structured pruning: hidden channels of the feed-forward networks are removed, so that file and matrix products are smaller."""

from collections.abc import Mapping

import torch
from torch import Tensor

from codenas.arch.design import Design

_INPUTS, _OUTPUT = ("gate.weight", "up.weight"), "down.weight"  # [hidden, d_model], [d_model, hidden]


def pruned(weights: Mapping[str, Tensor], design: Design) -> dict[str, Tensor]:
    """The weights of a model of `design.stored_arch`, from those of one of `design.arch`, in the same order."""
    left, stored = dict(weights), design.stored_arch
    if stored == design.arch:
        return left
    kept = stored.feedforward.hidden_width(stored.d_model)
    names = stored.feedforward.tensors(stored.d_model)
    for number in range(stored.n_layers):
        place = f"blocks.{number}.feedforward."
        layer = cut({name: weights[place + name] for name in names}, kept)
        left.update({place + name: weight for name, weight in layer.items()})
    return left


def cut(layer: Mapping[str, Tensor], kept: int) -> dict[str, Tensor]:
    """The `kept` most important hidden channels of a feed-forward, in their original order; ties go to earlier ones."""
    chosen = importance(layer).argsort(descending=True, stable=True)[:kept].sort().values
    return {name: weight.index_select(1 if name == _OUTPUT else 0, chosen) for name, weight in layer.items()}


def importance(layer: Mapping[str, Tensor]) -> Tensor:
    """The importance of each hidden channel, [hidden]: the product of the norms of its rows in `up` (and `gate`) and its column in `down`.

    A product, because the effect of a channel is bounded by both its input and its output weights.
    """
    rows = [layer[name].float().norm(dim=1) for name in _INPUTS if name in layer]
    return torch.stack([*rows, layer[_OUTPUT].float().norm(dim=0)]).prod(0)
