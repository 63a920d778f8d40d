"""Sampling follows the distribution it is told to follow, and only its own seed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from codenas.decode import SamplingParams, Sequence
from codenas.decode.backend import Logits
from codenas.decode.sampler import NonFiniteLogits, Sampler
from codenas.decode.sampling import sample, token_logprobs

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=50)
SCORES = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


def sampler(params: SamplingParams, prompt: tuple[int, ...] = (0,)) -> Sampler:
    return Sampler(Sequence(prompt, params, frozenset()))


def logits(*values: float) -> Logits:
    return np.array(values, np.float32)


def shares(params: SamplingParams, scores: Logits = SCORES, draws: int = 4000) -> list[float]:
    """How often each token is drawn."""
    draw = sampler(params.model_copy(update={"seed": 1}))
    drawn = [draw(scores) for _ in range(draws)]
    found: list[float] = (np.bincount(drawn, minlength=len(scores)) / draws).tolist()
    return found


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
    draw = sampler(SamplingParams(top_p=0.5, seed=1))
    assert {draw(np.zeros(1000, np.float32)) for _ in range(10_000)} == set(range(500))


def test_min_p_is_a_share_of_the_best() -> None:
    assert shares(SamplingParams(min_p=0.4)) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=0.03)
    assert shares(SamplingParams(min_p=1.0)) == [1, 0, 0, 0]


def test_temperature_zero_takes_the_best() -> None:
    assert shares(SamplingParams(temperature=0), draws=10) == [1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-307, 1e-45, 1e-20, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("shape", [{}, {"top_k": 3}, {"top_p": 0.9}])
@pytest.mark.parametrize("scale", [1.0, 3e38])
def test_any_positive_temperature_is_finite_and_a_tiny_one_takes_the_best(
    temperature: float, shape: dict[str, float], scale: float
) -> None:
    scores = np.float32(scale) * logits(-1.0, 0.5, -0.25, 0.9)
    draw = sampler(SamplingParams.model_validate({"temperature": temperature, **shape}))
    assert {draw(scores) for _ in range(20)} == {3}


def test_an_impossible_token_is_never_drawn() -> None:
    scores = logits(-math.inf, 0.0, -math.inf, 0.0, -math.inf)
    assert shares(SamplingParams(), scores)[0::2] == [0, 0, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_without_a_maximum_are_refused(value: float, temperature: float) -> None:
    with pytest.raises(NonFiniteLogits):
        sampler(SamplingParams(temperature=temperature))(logits(0.0, value, 1.0))


@pytest.mark.parametrize("seed", [0, 1, 12345, -5, 2**62 + 7])
def test_random_numbers_are_those_of_torch_with_the_same_seed(seed: int) -> None:
    rng, draw = torch.Generator().manual_seed(seed), sampler(SamplingParams(seed=seed))
    scores = np.random.default_rng(0).normal(size=100).astype(np.float32)
    for _ in range(20):
        drawn = float(torch.rand((), generator=rng, dtype=torch.float64))
        assert draw(scores) == sample(scores, SamplingParams(), drawn)


@given(seed=st.integers(-(2**63), 2**63 - 1), noise=st.integers(0, 1000))
@DETERMINISTIC
def test_rounding_does_not_change_what_a_seed_draws(seed: int, noise: int) -> None:
    scores = np.random.default_rng(7).normal(size=100).astype(np.float32)
    disturbed = scores + (1e-7 * np.random.default_rng(noise).normal(size=100)).astype(np.float32)
    params = SamplingParams(seed=seed, temperature=0.8, top_p=0.9)
    ours, theirs = sampler(params), sampler(params)
    assert [ours(scores) for _ in range(5)] == [theirs(disturbed) for _ in range(5)]


def test_without_a_seed_two_samplers_differ() -> None:
    scores = np.zeros(1000, np.float32)
    first, second = sampler(SamplingParams()), sampler(SamplingParams())
    assert [first(scores) for _ in range(8)] != [second(scores) for _ in range(8)]


def test_penalties_weigh_on_what_was_generated() -> None:
    scores = logits(1.0, 0.6, 0.0)
    presence = sampler(SamplingParams(temperature=0, presence_penalty=0.5))
    frequency = sampler(SamplingParams(temperature=0, frequency_penalty=0.3))
    assert [presence(scores) for _ in range(4)] == [0, 1, 0, 0]
    assert [frequency(scores) for _ in range(5)] == [0, 0, 1, 0, 1]
    assert scores.tolist() == pytest.approx([1.0, 0.6, 0.0]), "the scores of the model are not ours to change"


def test_the_repetition_penalty_weighs_on_the_prompt_too() -> None:
    draw = sampler(SamplingParams(temperature=0, repetition_penalty=2.0), prompt=(0, 0, 3))
    assert [draw(logits(1.0, 0.6, 0.4, -0.1)) for _ in range(3)] == [1, 0, 0]
    draw = sampler(SamplingParams(temperature=0, repetition_penalty=2.0), prompt=(0,))
    assert draw(logits(-0.1, -0.15, -9.0)) == 1


def test_a_bias_can_force_and_forbid() -> None:
    assert sampler(SamplingParams(temperature=0, logit_bias={3: 100.0}))(SCORES) == 3
    assert sampler(SamplingParams(temperature=0, logit_bias={0: -100.0}))(SCORES) == 1


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
        {"min_p": 1.1},
        {"repetition_penalty": 0},
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
