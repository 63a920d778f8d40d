"""Sampling in the library against the reference in numpy."""

import math
import random

import numpy as np
import pytest

from codenas.decode.native.sampling import native_sample
from codenas.decode.sampling import SamplingParams, sample
from tests.decode.native.models import needs_library

pytestmark = needs_library


@pytest.mark.parametrize("case", range(60))
def test_tokens_are_those_of_the_reference(case: int) -> None:
    rng, draws = random.Random(case), np.random.default_rng(case)
    size = rng.choice([1, 2, 7, 16, 63, 64, 65, 300, 4096, 8191])
    logits = (rng.choice([0.1, 1.0, 5.0, 30.0]) * draws.normal(size=size)).astype(np.float32)
    if rng.random() < 0.2:
        logits[draws.integers(size, size=size // 2)] = -math.inf
        logits[0] = 0.0
    params = SamplingParams(
        temperature=rng.choice([0.05, 0.7, 1.0, 2.0]),
        top_p=rng.choice([1.0, 1.0, 0.95, 0.5, 0.01]),
        top_k=rng.choice([None, None, 1, 5, 40, 10_000]),
        min_p=rng.choice([0.0, 0.0, 0.05, 1.0]),
    )
    drawn = draws.random(32).tolist()
    found = [native_sample(logits, params, each) for each in drawn]
    expected = [sample(logits, params, each) for each in drawn]
    assert sum(ours != theirs for ours, theirs in zip(found, expected, strict=True)) <= 1  # float32 against float64 at a border


@pytest.mark.parametrize("params", [SamplingParams(top_p=0.5), SamplingParams(top_k=500)])
def test_of_equally_likely_tokens_the_first_are_kept(params: SamplingParams) -> None:
    logits, draws = np.zeros(1000, np.float32), np.random.default_rng(0).random(5_000).tolist()
    assert {native_sample(logits, params, drawn) for drawn in draws} == set(range(500))


@pytest.mark.parametrize("values", [[math.nan], [-math.inf, -math.inf], [0.0, math.inf]])
def test_logits_without_a_maximum_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="no finite maximum|without a finite maximum"):
        native_sample(np.array(values, np.float32), SamplingParams(), 0.5)


def test_logits_are_not_changed() -> None:
    logits = np.random.default_rng(0).normal(size=100).astype(np.float32)
    before = logits.copy()
    native_sample(logits, SamplingParams(top_p=0.9, top_k=7), 0.3)
    assert (logits == before).all()
