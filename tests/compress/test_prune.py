"""Structured pruning: the least important channels are gone, the others stand where they stood, and the model is a smaller one."""

import pytest
import torch
from torch import Tensor

from codenas.arch import Design, FeedForwardSpec
from codenas.arch.cost import tensors
from codenas.arch.spec import Activation
from codenas.compress.prune import cut, importance, pruned
from codenas.model import LanguageModel, build_model
from tests.fakes import VOCAB_SIZE, drawn_model, tiny_arch


def layer_of(*strengths: float, gated: bool = True) -> dict[str, Tensor]:
    """A feed-forward of width 2 whose channels have these norms in every matrix."""
    rows = torch.tensor(strengths)[:, None] * torch.tensor([0.6, 0.8])
    return {**({"gate.weight": rows} if gated else {}), "up.weight": rows, "down.weight": rows.T.contiguous()}


def design_of(pruning: float, activation: Activation = "swiglu") -> Design:
    return Design(arch=tiny_arch(feedforward=FeedForwardSpec(activation=activation, multiplier=2.0)), pruning=pruning)


def weights_of(model: LanguageModel) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def test_importance_is_the_product_of_the_norms() -> None:
    assert torch.allclose(importance(layer_of(1, 2, 0, 3)), torch.tensor([1.0, 8.0, 0.0, 27.0]))
    assert torch.allclose(importance(layer_of(1, 2, gated=False)), torch.tensor([1.0, 4.0]))


def test_the_least_important_are_cut_and_the_others_keep_their_order() -> None:
    left = cut(layer_of(4, 1, 3, 2, 5), 3)
    assert torch.equal(left["up.weight"], layer_of(4, 3, 5)["up.weight"])
    assert torch.equal(left["gate.weight"], left["up.weight"]) and torch.equal(left["down.weight"], left["up.weight"].T)


def test_of_equals_the_first_stay() -> None:
    layer = layer_of(1, 1, 1, 1) | {"up.weight": torch.eye(4)[:, :2] * 0}  # as before training: all products are zero
    layer["gate.weight"] = torch.arange(8.0).view(4, 2)
    assert torch.equal(cut(layer, 2)["gate.weight"], layer["gate.weight"][:2])


@pytest.mark.parametrize("activation", ["relu2", "gelu", "swiglu", "geglu"])
@pytest.mark.parametrize("pruning", [0.25, 0.5, 0.9])
def test_the_smaller_model_computes_what_the_whole_one_does_without_those_channels(activation: Activation, pruning: float) -> None:
    design = design_of(pruning, activation)
    whole = drawn_model(design.arch)
    weights = weights_of(whole)
    left = pruned(weights, design)
    assert {name: tuple(value.shape) for name, value in left.items()} == tensors(design.stored_arch, VOCAB_SIZE)
    small = build_model(design.stored_arch, VOCAB_SIZE).eval()
    small.load_state_dict(left)
    kept = design.stored_arch.feedforward.hidden_width(16)
    with torch.no_grad():
        for number in range(design.arch.n_layers):
            place = f"blocks.{number}.feedforward."
            scores = importance({name: weights[place + name] for name in design.arch.feedforward.tensors(16)})
            weights[f"{place}down.weight"][:, scores.argsort(descending=True)[kept:]] = 0  # in the model itself
        tokens = torch.arange(20)[None]
        assert torch.allclose(small(tokens), whole(tokens), atol=1e-4)


def test_nothing_to_cut_leaves_all_as_it_was() -> None:
    weights = weights_of(drawn_model(tiny_arch()))
    left = pruned(weights, design_of(0.0))
    assert left == weights


def test_the_weights_that_were_given_are_not_changed() -> None:
    weights = weights_of(drawn_model(design_of(0.5).arch))
    before = {name: value.clone() for name, value in weights.items()}
    pruned(weights, design_of(0.5))
    assert all(torch.equal(weights[name], before[name]) for name in before)
