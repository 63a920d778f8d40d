"""Structured pruning: hidden channels of the feed-forward are cut, not set to zero, so that a file and a product are smaller."""

from collections.abc import Mapping

import torch
from torch import Tensor

from codenas.arch.design import Design

_INPUTS, _OUTPUT = ("gate.weight", "up.weight"), "down.weight"  # [hidden, d_model], [d_model, hidden]


def pruned(weights: Mapping[str, Tensor], design: Design) -> dict[str, Tensor]:
    """What is left of the weights of a model of `design.arch`: those of one of `design.stored_arch`, in the same order."""
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
    """The `kept` most important hidden channels of a feed-forward, in the order in which they were; ties go to earlier ones."""
    chosen = importance(layer).argsort(descending=True, stable=True)[:kept].sort().values
    return {name: weight.index_select(1 if name == _OUTPUT else 0, chosen) for name, weight in layer.items()}


def importance(layer: Mapping[str, Tensor]) -> Tensor:
    """What each hidden channel can do, [hidden]: the norms of its rows in `up` (and `gate`) and of its column in `down`, multiplied.

    A product, so that large inputs of a channel with small outputs count no more than both in between.
    """
    rows = [layer[name].float().norm(dim=1) for name in _INPUTS if name in layer]
    return torch.stack([*rows, layer[_OUTPUT].float().norm(dim=0)]).prod(0)
