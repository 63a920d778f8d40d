"""Random designs of `full`: the native library computes the logits of torch, and chooses the same tokens. `--designs 1000` draws more."""

import random

import numpy as np
import pytest

from codenas.arch.presets import FULL
from codenas.arch.spec import ArchSpec
from tests.decode.native.models import batch_of, distance, native, needs_library, random_model, reference, stored

EXACT = 1e-4  # relative to the spread of the logits
PROMPT, STEPS, CONTEXT = 70, 10, 96
# All that `full` varies, but narrower and shallower: the cost of a test is torch's. Its windows are shorter too, so that they close.
SPACE = FULL.refined(
    {
        "d_model": (64, 128, 192, 320),
        "n_layers": (2, 3, 4),
        "pattern.attention.window": (None, 16, 64),
        "embedding_rank": (None, 16, 48),
    }
)

pytestmark = needs_library


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "design" in metafunc.fixturenames:
        metafunc.parametrize("design", range(metafunc.config.getoption("--designs")))


def test_a_random_design_decodes_as_in_torch(design: int) -> None:
    rng = random.Random(design)
    arch = SPACE.sample(rng).stored_arch.model_copy(update={"context_len": CONTEXT})
    vocab_size = rng.randrange(50, 400)
    model = random_model(ArchSpec.model_validate(dict(arch)), vocab_size, design)
    tokens = [rng.randrange(vocab_size) for _ in range(PROMPT + STEPS)]
    wanted = reference(model, tokens)
    backend = native(model, stored(model, None)[0], threads=rng.choice((1, 2)))
    logits = [backend.forward(batch_of((0, 0, tokens[:PROMPT]))).copy()]
    logits += [backend.forward(batch_of((0, at, [tokens[at]]))).copy() for at in range(PROMPT, PROMPT + STEPS)]
    got = np.concatenate(logits)
    assert distance(got, wanted) < EXACT, arch
    second, first = np.sort(wanted)[:, -2:].T
    clear = first - second > 2 * EXACT * wanted.std()
    assert (got.argmax(1) == wanted.argmax(1))[clear].all()
