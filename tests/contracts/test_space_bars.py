"""The bars of the largest space, over all families: 10,000 draws are valid, 1,000 of them build as large as they say and are causal.

Causality is checked with every choice as drawn but the size: the pattern once, at the least width that fits its heads. At full
size all 1,000 take ten minutes: `python -m benchmarks causality`.
"""

import random
from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError

from codenas.arch import ArchSpec, Design, preset
from codenas.arch.cost import parameters
from codenas.measure.plausibility import check_causal
from codenas.model import count_parameters, uninitialized_model
from tests.fakes import drawn_model

DRAWS, BUILDS, VOCAB_SIZE = 10_000, 1_000, 64
CONTEXT = 72  # longer than a chunk of any mixer, and than the shortest window
WIDTHS = (48, 64, 96, 128, 192)
SPACE = preset("full")


@pytest.fixture(scope="module")
def draws() -> list[Design]:
    rng = random.Random(11)
    return [SPACE.sample(rng) for _ in range(DRAWS)]


def narrowed(arch: ArchSpec) -> ArchSpec:
    small = {"n_layers": len(arch.pattern), "context_len": CONTEXT, "embedding_rank": arch.embedding_rank and 16}
    return next(_valid({**arch.model_dump(), **small, "d_model": width} for width in WIDTHS))


def _valid(candidates: Iterator[dict[str, object]]) -> Iterator[ArchSpec]:
    for candidate in candidates:
        try:
            yield ArchSpec.model_validate(candidate)
        except ValidationError:
            continue


def test_ten_thousand_draws_are_valid_and_read_back_as_they_were(draws: list[Design]) -> None:
    assert all(Design.model_validate_json(design.model_dump_json()) == design and SPACE.contains(design) for design in draws)
    assert all(ArchSpec.model_validate_json(design.stored_arch.model_dump_json()) == design.stored_arch for design in draws)
    assert {tuple(mixer.kind for mixer in design.arch.pattern) for design in draws} == set(SPACE.choices["pattern"])


def test_a_thousand_build_as_large_as_the_closed_form_says(draws: list[Design]) -> None:
    for design in draws[:BUILDS]:
        short = design.stored_arch.model_copy(
            update={"context_len": CONTEXT}
        )  # tables of positions as long as drawn would take most of the time
        assert count_parameters(uninitialized_model(short, VOCAB_SIZE)) == parameters(short, VOCAB_SIZE)


def test_a_thousand_are_causal(draws: list[Design]) -> None:
    with torch.inference_mode():
        for design in draws[:BUILDS]:
            check_causal(drawn_model(narrowed(design.arch), VOCAB_SIZE), VOCAB_SIZE, CONTEXT, changes=4)
