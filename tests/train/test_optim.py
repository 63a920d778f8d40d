"""Muon and its neighbour AdamW: orthogonal updates, rates over widths, a memory that can be stored."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.optim import (
    BASE_DEPTH,
    BASE_WIDTH,
    Muon,
    build_optimizers,
    load_state_tensors,
    orthogonalise,
    set_rates,
    state_tensors,
)
from tests.fakes import drawn_model, tiny_arch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameter(value: Tensor, gradient: Tensor) -> nn.Parameter:
    made = nn.Parameter(value.clone())
    made.grad = gradient.clone()
    return made


@pytest.mark.parametrize("shape", [(16, 16), (8, 64), (64, 8), (48, 40)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_singular_values_come_near_one_at_any_shape_and_size(shape: tuple[int, int], size: float) -> None:
    values = torch.linalg.svdvals(orthogonalise(size * drawn(3, *shape)))
    assert values.min() > 0.7 and values.max() < 1.25
    assert (values - 1).abs().median() < 0.2


@given(st.lists(st.floats(-6, 0), min_size=12, max_size=12))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_no_singular_value_soars(exponents: list[float]) -> None:
    """Above one the polynomials grow without bound: the bound on the largest must hold for any spectrum, with all its rounding."""
    left, right = (torch.linalg.qr(drawn(size, 12, seed=size))[0] for size in (12, 20))
    spectrum = 10 ** torch.tensor(exponents)
    values = torch.linalg.svdvals(orthogonalise(((left * spectrum) @ right.T)[None]))[0]
    assert values.max() < 1.25
    strong = int((spectrum > 0.1 * spectrum.max()).sum())  # what is weaker is half drowned in the rounding of the strongest
    assert values[strong - 1] > 0.6


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_what_has_few_directions_keeps_few(rank: int) -> None:
    values = torch.linalg.svdvals(orthogonalise(drawn(1, 64, rank) @ drawn(1, rank, 96, seed=1)))[0]
    assert values[0] < 1.25 and values[rank - 1] > 0.7
    assert values[rank] < 0.5


def test_the_directions_stay_those_of_the_gradient() -> None:
    matrix = drawn(1, 24, 24)
    left, values, right = torch.linalg.svd(orthogonalise(matrix)[0])
    exact_left, _, exact_right = torch.linalg.svd(matrix[0])
    exact, found = exact_left @ exact_right, left @ right
    assert torch.cosine_similarity(exact.flatten(), found.flatten(), 0) > 0.98
    assert values.min() > 0


def test_a_stack_equals_one_by_one() -> None:
    stack = drawn(5, 24, 16)
    alone = torch.cat([orthogonalise(matrix[None]) for matrix in stack])
    torch.testing.assert_close(orthogonalise(stack), alone, rtol=0.02, atol=0.02)  # bfloat16 sums in another order


def test_nothing_becomes_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))


@pytest.mark.parametrize("exponent", range(-30, -6, 2))
def test_what_is_all_but_nothing_gives_no_more_than_any_other(exponent: int) -> None:
    """The momentum of a matrix that gets no gradient any more fades through all these sizes."""
    assert torch.linalg.svdvals(orthogonalise(10.0**exponent * drawn(1, 64, 128))).max() < 1.25


def test_muon_gives_every_parameter_its_own_update() -> None:
    together = [parameter(drawn(8, 4, seed=i), drawn(8, 4, seed=10 + i)) for i in range(3)]
    alone = [parameter(drawn(8, 4, seed=i), drawn(8, 4, seed=10 + i)) for i in range(3)]
    Muon(together, 0.1, 0.9, 0.0).step()
    for each in alone:
        Muon([each], 0.1, 0.9, 0.0).step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=0.01)


def test_muon_decays_weights_and_skips_what_has_no_gradient() -> None:
    still, decayed = nn.Parameter(drawn(4, 4)), parameter(drawn(4, 4), torch.zeros(4, 4))
    Muon([still, decayed], 0.1, 0.9, 0.5).step()
    assert torch.equal(still, drawn(4, 4))
    torch.testing.assert_close(decayed.detach(), drawn(4, 4) * 0.95)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (16, 16)])
def test_an_update_moves_the_entries_of_the_output_as_much_at_any_shape(shape: tuple[int, int]) -> None:
    """An input of size one in every entry, along the strongest direction, moves the output by the rate in every entry."""
    matrix = parameter(torch.zeros(shape), drawn(*shape))
    Muon([matrix], 0.1, 0.9, 0.0).step()
    largest = torch.linalg.matrix_norm(matrix.detach(), 2).item()
    assert largest * shape[1] ** 0.5 / shape[0] ** 0.5 == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("rank", [None, 8])
def test_every_parameter_has_one_optimizer_and_its_kind_decides_which(rank: int | None) -> None:
    model = drawn_model(tiny_arch(tie_embeddings=False, position="absolute", embedding_rank=rank))
    muon, adam = build_optimizers(model, TrainConfig(), depth=BASE_DEPTH)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [{names[parameter] for parameter in group["params"]} for optimizer in (muon, adam) for group in optimizer.param_groups]
    matrices, *tables, gains = groups
    assert sum(map(len, groups)) == len(names) == len(set().union(*groups))
    assert set().union(*tables) == {"embedding.weight", "positions.weight", "head.weight"}
    outside = {"widen.weight", "narrow.weight"} if rank else set()
    assert {name for name in matrices if not name.startswith("blocks.")} == outside
    assert all(model.get_parameter(name).ndim == 1 for name in gains)


def test_the_taps_of_a_convolution_are_no_matrix() -> None:
    model = build_model(tiny_arch(MambaSpec(head_width=8, state_width=8)), 50)
    muon, adam = build_optimizers(model, TrainConfig(), depth=BASE_DEPTH)
    vectors = {id(parameter) for parameter in adam.param_groups[1]["params"]}
    assert all(parameter.ndim == 2 for parameter in muon.param_groups[0]["params"])
    taps = [parameter for name, parameter in model.named_parameters() if name.endswith("mixer.taps")]
    assert taps and all(id(parameter) in vectors and 0.3 < parameter.std() < 0.7 for parameter in taps)  # 1 / sqrt(4 taps)


def rates_of(optimizers: list[torch.optim.Optimizer], model: nn.Module) -> dict[str, float]:
    """The rate of every parameter, by its name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[each]: group["lr"] for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}


def test_only_the_rate_of_a_table_depends_on_a_width_and_that_is_its_own() -> None:
    config = TrainConfig(matrix_rate=0.1, embedding_rate=0.2, gain_rate=0.3)
    model = drawn_model(tiny_arch(d_model=32, embedding_rank=8, tie_embeddings=False, position="absolute"))
    optimizers = build_optimizers(model, config, BASE_DEPTH)
    set_rates(optimizers, 0.5)
    rates = rates_of(optimizers, model)
    of_tables = {"embedding.weight": 0.1 * BASE_WIDTH / 8, "head.weight": 0.1 * BASE_WIDTH / 8, "positions.weight": 0.1 * BASE_WIDTH / 32}
    assert {name: rates.pop(name) for name in of_tables} == pytest.approx(of_tables)
    assert rates == pytest.approx({name: 0.05 if model.get_parameter(name).ndim == 2 else 0.15 for name in rates})


@pytest.mark.parametrize(("optimizer", "of_matrices"), [("muon", 2), ("adamw", 1)])
def test_only_the_rate_of_muon_depends_on_the_depth(optimizer: str, of_matrices: float) -> None:
    config = TrainConfig.model_validate({"optimizer": optimizer})
    shallow, deep = (
        [group["lr"] for each in build_optimizers(drawn_model(tiny_arch()), config, depth) for group in each.param_groups]
        for depth in (BASE_DEPTH, 4 * BASE_DEPTH)
    )
    ratios = sorted(a / b for a, b in zip(shallow, deep, strict=True))
    assert ratios == pytest.approx([1, 1] + [of_matrices] * (len(ratios) - 2))


def test_under_adamw_the_rate_of_a_matrix_falls_with_its_fan_in() -> None:
    """And its decay times rate does not: matrices of every width forget at one pace."""
    model = drawn_model(tiny_arch())
    config = TrainConfig(optimizer="adamw", adam_rate=0.1, weight_decay=0.5)
    (adam,) = build_optimizers(model, config, depth=BASE_DEPTH)
    names = {parameter: name for name, parameter in model.named_parameters()}
    seen = set()
    for group in adam.param_groups:
        for parameter in group["params"]:
            seen.add(names[parameter])
            if parameter.ndim == 2 and names[parameter].startswith("blocks."):
                assert group["lr"] == pytest.approx(0.1 * BASE_WIDTH / parameter.shape[1])
                assert group["lr"] * group["weight_decay"] == pytest.approx(0.05)
            else:
                assert group["weight_decay"] == 0
    assert seen == set(names.values())


def test_the_memory_survives_as_named_tensors() -> None:
    """Two models that go on from the same memory stay equal; one that starts without it does not."""
    models = [drawn_model(tiny_arch()) for _ in range(3)]
    names: list[dict[Tensor, str]] = [{parameter: name for name, parameter in model.named_parameters()} for model in models]
    optimizers = [build_optimizers(model, TrainConfig(), BASE_DEPTH) for model in models]

    def step(number: int, seed: int) -> None:
        for i, each in enumerate(models[number].parameters()):
            each.grad = drawn(*each.shape, seed=seed + i)
        for optimizer in optimizers[number]:
            optimizer.step()

    step(0, 1)
    stored = state_tensors(optimizers[0], names[0])
    for other in (1, 2):
        models[other].load_state_dict(models[0].state_dict())
    load_state_tensors(optimizers[1], names[1], stored)
    for number in range(3):
        step(number, 99)
    weights = [torch.cat([each.detach().flatten() for each in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert set(stored) == {f"{name}/{slot}" for each, name in names[0].items() for slot in slots_of(each, name)}


def slots_of(each: Tensor, name: str) -> tuple[str, ...]:
    return ("momentum",) if each.ndim > 1 and name.startswith("blocks.") else ("step", "exp_avg", "exp_avg_sq")
