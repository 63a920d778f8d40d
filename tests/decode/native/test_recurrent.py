"""Each recurrent layer of the native library computes what torch computes, however its tokens come."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from codenas.arch import ArchSpec, AttentionSpec, MixerSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.storage import STORAGES, Storage
from codenas.decode.native.backend import NativeBackend, NativeStateBlock
from codenas.decode.native.library import TARGETS, available_targets
from codenas.model import LanguageModel
from tests.decode.native.models import batch_of, distance, native, needs_library, random_model, reference, stored

EXACT = 1e-4  # in float32, relative to the spread of the logits
ROUNDED = {"float16": 1e-3, "int8": 0.05, "int4": 0.05}  # of the median token: rounded inputs may turn the sign of what a new head reads
VOCAB, CONTEXT = 101, 256

# Widths that fill registers of every target, and widths that fill none.
LAYERS: dict[str, tuple[MixerSpec, int]] = {
    "linear attention": (LinearAttentionSpec(n_heads=2), 128),
    "linear attention, one head of 40": (LinearAttentionSpec(n_heads=1), 40),
    "linear attention, heads of 3": (LinearAttentionSpec(n_heads=16), 48),
    "mamba2": (MambaSpec(head_width=64, state_width=64), 64),
    "mamba2, odd widths": (MambaSpec(head_width=10, state_width=19, conv_width=3, expand=1), 40),
    "mamba2, two taps": (MambaSpec(head_width=8, state_width=8, conv_width=2), 40),
    "mamba2, eight taps": (MambaSpec(head_width=32, state_width=9, conv_width=8), 48),
    "rwkv7": (RwkvSpec(head_width=64), 128),
    "rwkv7, heads of 20": (RwkvSpec(head_width=20, rank=7, gate_rank=9), 40),
    "rwkv7, rank of one": (RwkvSpec(head_width=8, rank=1, gate_rank=1), 48),
}
FAMILIES = ("linear attention", "mamba2, odd widths", "rwkv7, heads of 20")

pytestmark = needs_library


def model_of(layer: str, seed: int = 0, with_attention: bool = False) -> LanguageModel:
    mixer, d_model = LAYERS[layer]
    pattern = (mixer, AttentionSpec(n_heads=2, n_kv_heads=1)) if with_attention else (mixer,)
    return random_model(ArchSpec(d_model=d_model, n_layers=2, pattern=pattern, context_len=CONTEXT), VOCAB, seed)


def tokens_of(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(VOCAB) for _ in range(count)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_prompt_its_chunks_and_its_tokens_are_exact_in_float32(layer: str, target: str) -> None:
    if target not in available_targets():
        pytest.skip(f"this processor cannot run {target}")
    model, tokens = model_of(layer), tokens_of(1, 150)
    wanted, backend = reference(model, tokens), native(model, stored(model, None)[0], target=target)
    rng = random.Random(2)
    for slot, sizes in enumerate(([150], [1], [2, 3, 5, 8, 17, 31], [rng.choice((1, 4, 9, 33)) for _ in range(99)])):
        bounds = [0]
        while bounds[-1] < len(tokens):
            bounds.append(min(len(tokens), bounds[-1] + sizes[len(bounds) % len(sizes)]))
        logits = [backend.forward(batch_of((slot, start, tokens[start:stop]))).copy() for start, stop in pairwise(bounds)]
        assert distance(np.concatenate(logits), wanted) < EXACT


@pytest.mark.parametrize("layer", FAMILIES)
def test_extreme_decays_stay_finite_and_exact(layer: str) -> None:
    """Heads that forget at once and heads that never forget: no quotient of decays may overflow inside a block of tokens."""
    model, tokens = model_of(layer), tokens_of(3, 100)
    for name, parameter in model.named_parameters():
        if name.endswith(("decay_bias", "step_bias", "decay_offset")):
            parameter.data = parameter.data.new_tensor(np.linspace(-60, 60, parameter.numel()))
    backend = native(model, stored(model, None)[0])
    wanted = reference(model, tokens)
    assert np.isfinite(wanted).all()
    assert distance(backend.forward(batch_of((0, 0, tokens))), wanted) < EXACT
    steps = np.concatenate([backend.forward(batch_of((1, at, [token]))).copy() for at, token in enumerate(tokens)])
    assert distance(steps, wanted) < EXACT


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_storage_is_near_its_weights_in_float32(layer: str, storage: Storage) -> None:
    model, tokens = model_of(layer), tokens_of(4, 60)
    tensors, rounded = stored(model, storage)
    wanted = reference(rounded, tokens)
    difference = native(model, tensors).forward(batch_of((0, 0, tokens))) - wanted
    assert np.median(np.sqrt(np.square(difference).mean(1))) / wanted.std() < ROUNDED[storage]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layer", FAMILIES)
def test_a_ragged_batch_is_its_sequences_alone(layer: str, threads: int) -> None:
    model, rng = model_of(layer, with_attention=True), random.Random(5)
    tensors, _ = stored(model, None)
    together, alone, starts = native(model, tensors, threads=threads), native(model, tensors), [0] * 4
    for _ in range(8):
        parts = [(slot, starts[slot], tokens_of(rng.randrange(99), rng.choice((1, 2, 11, 40)))) for slot in rng.sample(range(4), 3)]
        logits, at = together.forward(batch_of(*parts)).copy(), 0
        for slot, start, ids in parts:
            assert distance(logits[at : at + len(ids)], alone.forward(batch_of((slot, start, ids)))) < 1e-5
            starts[slot] += len(ids)
            at += len(ids)


@pytest.mark.parametrize("with_attention", [False, True])
@pytest.mark.parametrize("layer", FAMILIES)
def test_states_that_are_copied_rewound_saved_and_restored_go_on_as_before(layer: str, with_attention: bool) -> None:
    model, tokens = model_of(layer, with_attention=with_attention), tokens_of(6, 200)
    backend = native(model, stored(model, None)[0])
    assert not backend.truncatable
    first = backend.forward(batch_of((0, 0, tokens[:64]))).copy()
    blocks = [backend.save(0, 0, 64)]
    backend.mark(0)
    backend.forward(batch_of((0, 64, [7] * 20)))
    backend.rewind(0)
    whole = np.concatenate([first, backend.forward(batch_of((0, 64, tokens[64:])))])
    wanted = reference(model, tokens)
    assert distance(whole, wanted) < EXACT
    blocks.append(backend.save(0, 64, 200))
    assert blocks[0].nbytes > 0

    backend.copy(0, 1)
    more = backend.forward(batch_of((1, 200, [1, 2, 3]))).copy()
    backend.restore(2, blocks[:1])
    assert distance(backend.forward(batch_of((2, 64, tokens[64:]))), whole[64:]) < 1e-5
    backend.restore(3, blocks)
    assert distance(backend.forward(batch_of((3, 200, [1, 2, 3]))), more) < 1e-5
    backend.reset(0)
    assert backend.length(0) == 0
    assert distance(backend.forward(batch_of((0, 0, tokens[:64]))), first) < 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_a_state_has_the_same_size_at_every_length(layer: str) -> None:
    model = model_of(layer)
    backend = native(model, stored(model, None)[0])
    size = backend.state_bytes(1)
    assert size == backend.state_bytes(CONTEXT) == backend.save(0, 0, 0).nbytes
    mixer, d_model = LAYERS[layer]
    assert 2 * mixer.state_bytes(d_model, 1, 4) <= size  # at least: rows fill whole registers


def test_what_cannot_be_cut_is_refused() -> None:
    model = model_of("rwkv7")
    backend = native(model, stored(model, None)[0])
    backend.forward(batch_of((0, 0, tokens_of(7, 20))))
    with pytest.raises(ValueError, match="cannot be truncated: rewind or restore it"):
        backend.truncate(0, 10)
    with pytest.raises(ValueError, match="saved at the end of its sequence only"):
        backend.save(0, 0, 10)


@pytest.mark.parametrize("layer", FAMILIES)
def test_a_block_that_is_no_state_leaves_an_empty_sequence(layer: str) -> None:
    """The layers before the one that refuses it have taken their parts already."""
    model, tokens = model_of(layer, with_attention=True), tokens_of(8, 30)
    backend = native(model, stored(model, None)[0])
    first = backend.forward(batch_of((0, 0, tokens))).copy()
    block = backend.save(0, 0, 30)
    assert isinstance(block, NativeStateBlock)
    with pytest.raises(ValueError, match="the block is not one that this model saved"):
        backend.restore(1, [NativeStateBlock(0, 30, block.data[:-1])])
    assert backend.length(1) == 0
    assert distance(backend.forward(batch_of((1, 0, tokens))), first) < 1e-5


def test_two_models_decode_in_two_threads() -> None:
    models = [model_of(layer, with_attention=True) for layer in ("mamba2", "rwkv7")]
    tokens = tokens_of(9, 120)
    backends = [native(model, stored(model, None)[0], threads=2) for model in models]

    def decode(backend: NativeBackend) -> list[NDArray[np.float32]]:
        rounds = []
        for _ in range(20):
            backend.reset(0)
            rounds.append(backend.forward(batch_of((0, 0, tokens))).copy())
        return rounds

    with ThreadPoolExecutor(2) as threads:
        for model, rounds in zip(models, threads.map(decode, backends), strict=True):
            wanted = reference(model, tokens)
            assert all(distance(logits, wanted) < EXACT for logits in rounds)
