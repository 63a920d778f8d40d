"""The native backend computes what torch computes, however its tokens come."""

import random

import numpy as np
import pytest

from codenas.arch import ArchSpec, AttentionSpec
from codenas.arch.storage import STORAGES, Storage
from codenas.decode.native.library import TARGETS, available_targets
from tests.decode.native.models import batch_of, distance, native, needs_library, random_arch, random_model, reference, stored

EXACT = 1e-4  # in float32, relative to the spread of the logits
ROUNDED = {"float16": 5e-3, "int8": 0.25, "int4": 0.25}  # largest difference from the stored weights in float32: inputs are rounded too
VOCAB = 101

pytestmark = needs_library


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(4))
def test_every_target_is_exact_in_float32(target: str, seed: int) -> None:
    if target not in available_targets():
        pytest.skip(f"this processor cannot run {target}")
    rng = random.Random(seed)
    model = random_model(random_arch(rng), VOCAB, seed)
    tokens = [rng.randrange(VOCAB) for _ in range(120)]
    backend = native(model, stored(model, None)[0], target=target)
    assert distance(backend.forward(batch_of((0, 0, tokens))), reference(model, tokens)) < EXACT


@pytest.mark.parametrize("seed", range(20))
def test_random_designs_are_exact_in_float32_in_chunks(seed: int) -> None:
    rng = random.Random(100 + seed)
    model = random_model(random_arch(rng), VOCAB, seed)
    tokens = [rng.randrange(VOCAB) for _ in range(150)]
    backend = native(model, stored(model, None)[0], threads=1 + seed % 2)
    logits, start = [], 0
    while start < len(tokens):
        chunk = tokens[start : start + rng.choice([1, 1, 2, 3, 7, 9, 40, 90])]
        logits.append(backend.forward(batch_of((1, start, chunk))).copy())
        start += len(chunk)
    assert distance(np.concatenate(logits), reference(model, tokens)) < EXACT


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("storage", STORAGES)
def test_a_storage_is_near_its_weights_in_float32(storage: Storage, target: str) -> None:
    if target not in available_targets():
        pytest.skip(f"this processor cannot run {target}")
    rng = random.Random(7)
    for seed in range(3):
        model = random_model(random_arch(rng), VOCAB, seed)
        tokens = [rng.randrange(VOCAB) for _ in range(60)]
        tensors, rounded = stored(model, storage)
        backend = native(model, tensors, target=target)
        assert distance(backend.forward(batch_of((0, 0, tokens))), reference(rounded, tokens)) < ROUNDED[storage]


@pytest.mark.parametrize("storage", [None, *STORAGES])
def test_a_ragged_batch_is_its_sequences_alone(storage: Storage | None) -> None:
    rng = random.Random(3)
    model = random_model(
        ArchSpec(d_model=48, n_layers=2, pattern=(AttentionSpec(n_heads=4, n_kv_heads=2, window=20),), context_len=128), VOCAB
    )
    tensors, _ = stored(model, storage)
    together, alone = native(model, tensors, threads=2), native(model, tensors)
    starts = [0, 0, 0, 0]
    for _ in range(8):
        parts = [(slot, starts[slot], [rng.randrange(VOCAB) for _ in range(rng.choice([1, 2, 11]))]) for slot in rng.sample(range(4), 3)]
        logits = together.forward(batch_of(*parts)).copy()
        at = 0
        for slot, start, ids in parts:
            one = alone.forward(batch_of((slot, start, ids)))
            assert distance(logits[at : at + len(ids)], one) < 1e-5
            starts[slot] += len(ids)
            at += len(ids)


def test_only_wanted_logits_are_computed() -> None:
    model = random_model(random_arch(random.Random(1)), VOCAB)
    tokens = list(range(40))
    backend = native(model, stored(model, None)[0])
    logits = backend.forward(batch_of((0, 0, tokens), wanted=[3, 39]))
    assert logits.shape == (2, VOCAB)
    assert distance(logits, reference(model, tokens)[[3, 39]]) < EXACT
    assert backend.forward(batch_of((1, 0, tokens), wanted=[])).shape == (0, VOCAB)
    assert backend.length(1) == 40


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("storage", [None, "int8"])
def test_states_that_are_copied_rewound_saved_and_restored_go_on_as_before(window: int | None, storage: Storage | None) -> None:
    arch = ArchSpec(d_model=32, n_layers=2, pattern=(AttentionSpec(n_heads=2, n_kv_heads=1, window=window),), context_len=256)
    model = random_model(arch, VOCAB)
    tokens = [token % VOCAB for token in range(5, 205)]
    backend = native(model, stored(model, storage)[0])
    first = backend.forward(batch_of((0, 0, tokens[:64]))).copy()
    blocks = [backend.save(0, 0, 64)]
    whole = np.concatenate([first, backend.forward(batch_of((0, 64, tokens[64:])))])
    blocks.append(backend.save(0, 64, 200))
    assert [(block.start, block.stop) for block in blocks] == [(0, 64), (64, 200)] and blocks[0].nbytes > 0

    backend.copy(0, 1)
    more = backend.forward(batch_of((1, 200, [1, 2, 3]))).copy()
    backend.restore(2, blocks[:1])
    backend.mark(2)
    backend.forward(batch_of((2, 64, [7] * 150)))
    backend.rewind(2)
    assert distance(backend.forward(batch_of((2, 64, tokens[64:]))), whole[64:]) < 1e-5
    backend.restore(3, blocks)
    assert distance(backend.forward(batch_of((3, 200, [1, 2, 3]))), more) < 1e-5
    backend.reset(0)
    assert backend.length(0) == 0 and distance(backend.forward(batch_of((0, 0, tokens[:64]))), first) < 1e-5


def test_a_model_that_keeps_all_positions_is_truncated_and_saved_anywhere() -> None:
    model = random_model(ArchSpec(d_model=32, n_layers=2, pattern=(AttentionSpec(n_heads=2, n_kv_heads=1),), context_len=128), VOCAB)
    backend, tokens = native(model, stored(model, "int8")[0]), list(range(100))
    assert backend.truncatable
    whole = backend.forward(batch_of((0, 0, tokens))).copy()
    backend.restore(1, [backend.save(0, 0, 33), backend.save(0, 33, 70)])
    assert distance(backend.forward(batch_of((1, 70, tokens[70:]))), whole[70:]) < 1e-5
    backend.truncate(0, 21)
    assert distance(backend.forward(batch_of((0, 21, tokens[21:]))), whole[21:]) < 1e-5


def test_a_window_refuses_what_it_no_longer_holds() -> None:
    arch = ArchSpec(d_model=32, n_layers=1, pattern=(AttentionSpec(n_heads=2, n_kv_heads=1, window=8),), context_len=512)
    backend = native(random_model(arch, VOCAB), stored(random_model(arch, VOCAB), None)[0], max_tokens=100)
    assert not backend.truncatable
    with pytest.raises(ValueError, match="slot 0 has no mark"):
        backend.rewind(0)
    backend.mark(0)
    backend.forward(batch_of((0, 0, [1] * 100)))
    backend.forward(batch_of((0, 100, [1] * 50)))
    with pytest.raises(ValueError, match="the mark is 150 tokens back, more than the 100"):
        backend.rewind(0)
    with pytest.raises(ValueError, match="cannot be truncated"):
        backend.truncate(0, 140)
    with pytest.raises(ValueError, match="saved at the end of its sequence only"):
        backend.save(0, 0, 100)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(0, 1, [1])], "position 1 does not follow the 0 tokens"),
        ([(4, 0, [1])], "slot 4 is none of the 4 slots"),
        ([(-1, 0, [1])], "slot -1"),
        ([(0, 0, [VOCAB])], f"token {VOCAB} is not in the vocabulary of {VOCAB}"),
        ([(0, 0, [-1])], "token -1"),
        ([(0, 0, [1]), (1, 0, [1]), (0, 1, [1])], "not neighbours"),
        ([(0, 0, [1] * 161)], "outside the context of 160"),
        ([(0, 0, [1] * 300)], "300 tokens are more than the 256"),
        ([], "0 tokens"),
    ],
)
def test_a_wrong_batch_is_refused_and_changes_nothing(parts: list[tuple[int, int, list[int]]], message: str) -> None:
    model = random_model(random_arch(random.Random(1)), VOCAB)
    backend = native(model, stored(model, None)[0])
    with pytest.raises(ValueError, match=message):
        backend.forward(batch_of(*parts))
    assert [backend.length(slot) for slot in range(4)] == [0] * 4


def test_wrong_tensors_and_options_are_refused() -> None:
    model = random_model(random_arch(random.Random(1)), VOCAB)
    tensors = dict(stored(model, None)[0])
    with pytest.raises(ValueError, match="threads"):
        native(model, tensors, threads=0)
    with pytest.raises(ValueError, match=r"norm\.weight is missing"):
        native(model, {name: value for name, value in tensors.items() if name != "norm.weight"})
    with pytest.raises(ValueError, match=r"norm\.weight is stored as float64"):
        native(model, {**tensors, "norm.weight": tensors["norm.weight"].astype(np.float64)})


def test_a_state_costs_what_it_says() -> None:
    arch = ArchSpec(d_model=64, n_layers=3, pattern=(AttentionSpec(n_heads=4, n_kv_heads=2, window=32),), context_len=512)
    model = random_model(arch, VOCAB)
    backend = native(model, stored(model, "int8")[0])
    position = 3 * 2 * (2 * 16) * 2  # layers, keys and values, channels, bytes
    assert backend.state_bytes(10) == 10 * position
    assert backend.state_bytes(400) == backend.state_bytes(401) < 400 * position
