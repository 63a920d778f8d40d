"""Decoding: the cached path that users get against reading the whole prefix again for every token."""

import statistics
import time

import torch

from codenas.arch import ArchSpec
from codenas.compress.stored import StoredModel
from codenas.measure.latency import decoding_latency
from codenas.model import LanguageModel, build_model

VOCAB, ROUNDS = 4096, 5
ARCH = ArchSpec(d_model=256, n_layers=4)


def measure() -> dict[str, object]:
    """Median milliseconds per token behind a prompt of 128 tokens, one thread, rounds interleaved."""
    torch.set_num_threads(1)
    model = build_model(ARCH, VOCAB).eval()
    stored = StoredModel.packed(ARCH, VOCAB, "float16", model.state_dict())
    cached, uncached = [], []
    for _ in range(ROUNDS):
        cached.append(decoding_latency(stored, tokens=64, prompt_tokens=128).p50_ms)
        uncached.append(_without_cache(model))
    return {
        "cached_ms_per_token": round(statistics.median(cached), 3),
        "uncached_ms_per_token": round(statistics.median(uncached), 3),
        "speedup": round(statistics.median(uncached) / statistics.median(cached), 1),
    }


@torch.inference_mode()
def _without_cache(model: LanguageModel, tokens: int = 16) -> float:
    prefix = torch.arange(128)[None]
    times = []
    for _ in range(tokens):
        started = time.perf_counter()
        token = model(prefix)[0, -1].argmax()
        prefix = torch.cat((prefix, token[None, None]), 1)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
