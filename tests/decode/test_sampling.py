"""Sampling follows the distribution it is told to follow, and only its own seed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from codenas.decode.sampling import Sampler, SamplingParams, sample, token_logprobs

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=50)
SCORES = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.1]))


def shares(params: SamplingParams, scores: Tensor = SCORES, draws: int = 4000) -> list[float]:
    """How often each token is drawn."""
    rng = torch.Generator().manual_seed(1)
    drawn = torch.tensor([sample(scores, params, rng) for _ in range(draws)])
    return (torch.bincount(drawn, minlength=len(scores)) / draws).tolist()


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    assert shares(SamplingParams()) == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.03)


def test_temperature_sharpens() -> None:
    squares = [0.25, 0.0625, 0.0225, 0.01]
    assert shares(SamplingParams(temperature=0.5)) == pytest.approx([square / sum(squares) for square in squares], abs=0.03)


def test_top_k_keeps_the_best() -> None:
    assert shares(SamplingParams(top_k=2)) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.5, [1, 0, 0, 0]), (0.51, [2 / 3, 1 / 3, 0, 0]), (0.8, [5 / 9, 2.5 / 9, 1.5 / 9, 0]), (1e-9, [1, 0, 0, 0])]
)
def test_top_p_keeps_the_smallest_set_that_holds_it(top_p: float, kept: list[float]) -> None:
    assert shares(SamplingParams(top_p=top_p)) == pytest.approx(kept, abs=0.03)


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    assert shares(SamplingParams(top_k=2, top_p=0.6)) == [1, 0, 0, 0]


def test_top_p_of_an_even_distribution_needs_many_tokens() -> None:
    rng = torch.Generator().manual_seed(1)
    drawn = {sample(torch.zeros(1000), SamplingParams(top_p=0.5), rng) for _ in range(10_000)}
    assert drawn == set(range(500))


def test_temperature_zero_takes_the_best() -> None:
    assert shares(SamplingParams(temperature=0), draws=10) == [1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-307, 1e-45, 1e-20, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("shape", [{}, {"top_k": 3}, {"top_p": 0.9}])
@pytest.mark.parametrize("scale", [1.0, 3e38])
def test_any_positive_temperature_is_finite_and_a_tiny_one_takes_the_best(
    temperature: float, shape: dict[str, float], scale: float
) -> None:
    scores = scale * torch.tensor([-1.0, 0.5, -0.25, 0.9])
    params = SamplingParams.model_validate({"temperature": temperature, **shape})
    rng = torch.Generator().manual_seed(1)
    assert {sample(scores, params, rng) for _ in range(20)} == {3}


def test_an_impossible_token_is_never_drawn() -> None:
    scores = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    assert shares(SamplingParams(), scores)[0::2] == [0, 0, 0]


@given(seed=st.integers(-(2**63), 2**63 - 1), noise=st.integers(0, 1000))
@DETERMINISTIC
def test_rounding_does_not_change_what_a_seed_draws(seed: int, noise: int) -> None:
    scores = torch.randn(100, generator=torch.Generator().manual_seed(7))
    disturbed = scores + 1e-7 * torch.randn(100, generator=torch.Generator().manual_seed(noise))
    params = SamplingParams(seed=seed, temperature=0.8, top_p=0.9)
    ours, theirs = Sampler(params), Sampler(params)
    assert [ours(scores) for _ in range(5)] == [theirs(disturbed) for _ in range(5)]


def test_without_a_seed_two_samplers_differ() -> None:
    scores = torch.zeros(1000)
    first, second = Sampler(SamplingParams()), Sampler(SamplingParams())
    assert [first(scores) for _ in range(8)] != [second(scores) for _ in range(8)]


def test_penalties_weigh_on_what_was_generated() -> None:
    scores = torch.tensor([1.0, 0.6, 0.0])
    presence = Sampler(SamplingParams(temperature=0, presence_penalty=0.5))
    frequency = Sampler(SamplingParams(temperature=0, frequency_penalty=0.3))
    assert [presence(scores) for _ in range(4)] == [0, 1, 0, 0]
    assert [frequency(scores) for _ in range(5)] == [0, 0, 1, 0, 1]
    assert scores.tolist() == pytest.approx([1.0, 0.6, 0.0]), "the scores of the model are not ours to change"


def test_a_bias_can_force_and_forbid() -> None:
    assert Sampler(SamplingParams(temperature=0, logit_bias={3: 100.0}))(SCORES) == 3
    assert Sampler(SamplingParams(temperature=0, logit_bias={0: -100.0}))(SCORES) == 1


def test_scores_of_a_token() -> None:
    scores = token_logprobs(SCORES, 3, best=2)
    assert scores.chosen == pytest.approx(math.log(0.1))
    assert {token: math.exp(value) for token, value in scores.best.items()} == pytest.approx({0: 0.5, 1: 0.25})


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": math.nan},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": 0},
        {"max_tokens": -1},
        {"presence_penalty": 2.5},
        {"logit_bias": {0: math.inf}},
        {"logit_bias": {0: 1e38}},
        {"seed": 2**63},
        {"logprobs": 6},
        {"heat": 1},
    ],
)
def test_illegal_parameters_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate(fields)
