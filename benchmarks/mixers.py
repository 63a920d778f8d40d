"""One layer of each family, forward and back, beside softmax attention; and a decoded token behind a growing past."""

import statistics
import time

import torch

from codenas.arch import ArchSpec, AttentionSpec, MixerSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.model import DecodingState, LanguageModel, build_model
from codenas.model.mixers import build_mixer
from codenas.model.positions import Positions
from codenas.train.allocator import keep_freed_memory

FAMILIES: dict[str, MixerSpec] = {
    "attention": AttentionSpec(n_heads=4, n_kv_heads=4),
    "linear_attention": LinearAttentionSpec(n_heads=4),
    "mamba2": MambaSpec(head_width=32, state_width=32),
    "rwkv7": RwkvSpec(head_width=32),
}
WIDTH, BATCH = 256, 8
TRAINED = {256: 9, 4096: 3}  # tokens: rounds
PASTS = (128, 1024, 8192)


def measure() -> dict[str, object]:
    """Medians over interleaved rounds, one thread, bfloat16 in training; times relative to attention in the same round."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run of training does; without, the system's pages cost a mixer that keeps more for the way back more
    return {
        "speed_relative_to_attention": {tokens: _training(tokens, rounds) for tokens, rounds in TRAINED.items()},
        "decoding_ms_per_token_by_past": {name: _decoding(spec) for name, spec in FAMILIES.items()},
    }


def _training(tokens: int, rounds: int) -> dict[str, float]:
    layers = {name: build_mixer(spec, ArchSpec(d_model=WIDTH, pattern=(spec,), context_len=tokens)) for name, spec in FAMILIES.items()}
    x = torch.randn(BATCH, tokens, WIDTH, requires_grad=True)
    seconds: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds + 1):
        for name, layer in layers.items():
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                mixed = layer(x, Positions(tokens, x.device))
            mixed.float().square().mean().backward()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {name: round(medians["attention"] / median, 2) for name, median in medians.items()}


@torch.inference_mode()
def _decoding(spec: MixerSpec, timed: int = 64) -> dict[int, float]:
    """Milliseconds by the tokens before: one sequence for each, and the next token of each in turn."""
    model = build_model(ArchSpec(d_model=WIDTH, n_layers=4, pattern=(spec,), context_len=PASTS[-1] + 2 * timed), 1000).eval()
    states = {past: _read(model, past) for past in PASTS}
    seconds: dict[int, list[float]] = {past: [] for past in PASTS}
    for _ in range(timed):
        for past, state in states.items():
            started = time.perf_counter()
            model.extend(torch.zeros(1, 1, dtype=torch.long), state)
            seconds[past].append(time.perf_counter() - started)
    return {past: round(1000 * statistics.median(times), 3) for past, times in seconds.items()}


def _read(model: LanguageModel, past: int) -> DecodingState:
    state = model.initial_state(1)
    while state.lengths[0] < past:
        model.extend(torch.zeros(1, min(512, past - state.lengths[0]), dtype=torch.long), state)
    return state
