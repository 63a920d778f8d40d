"""Latency per token, measured on the decoding path that users get: a prompt in the cache, one sequence, token by token."""

import statistics
import time
from dataclasses import dataclass

import torch

from codenas.model import LanguageModel

WARMUP_TOKENS = 8


@dataclass(slots=True, frozen=True)
class Latency:
    """Milliseconds per token of cached decoding: median and 95th percentile over `tokens` tokens."""

    p50_ms: float
    p95_ms: float
    tokens: int


@torch.no_grad()
def decoding_latency(model: LanguageModel, tokens: int = 64, prompt_tokens: int = 64) -> Latency:
    """Decode `tokens` tokens greedily behind a prompt and time each, after a warm-up; on the device the model is on.

    The token that comes back is read on the host, as a server must: a GPU's queue cannot hide work from the clock.
    """
    model.eval()
    prompt_tokens = max(1, min(prompt_tokens, model.arch.context_len - WARMUP_TOKENS - tokens))
    tokens = min(tokens, model.arch.context_len - WARMUP_TOKENS - prompt_tokens)
    prompt = torch.arange(prompt_tokens, device=model.device)[None] % model.vocab_size
    state = model.initial_state(1)
    token = int(model.extend(prompt, state)[0, -1].argmax())
    times = []
    for _ in range(WARMUP_TOKENS + tokens):
        started = time.perf_counter()
        scores = model.extend(torch.tensor([[token]], device=model.device), state)
        token = int(scores[0, -1].argmax())
        times.append((time.perf_counter() - started) * 1000)
    timed = sorted(times[WARMUP_TOKENS:])
    return Latency(statistics.median(timed), timed[int(0.95 * (len(timed) - 1))], len(timed))
