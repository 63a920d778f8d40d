"""Latency per token, measured on the decoding path that users get: a prompt in the cache, one sequence, token by token."""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from codenas.decode.engine import EngineSettings
from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import Sequence
from codenas.decode.torch_backend import TorchBackend
from codenas.measure.timed_tokens import WARMUP_TOKENS, lengths_that_fit
from codenas.metrics import LatencyContext, Metrics
from codenas.model import LanguageModel


@dataclass(slots=True, frozen=True)
class Latency:
    """Milliseconds per token of cached decoding: median and 95th percentile over the `tokens` tokens of one round.

    `p50_uncertainty_ms` is the gap to the median of the second-best round: where two rounds agree, no other work disturbed them.
    None after a single round.
    """

    p50_ms: float
    p95_ms: float
    tokens: int
    context: LatencyContext
    p50_uncertainty_ms: float | None = None

    @property
    def metrics(self) -> Metrics:
        """Both latencies with what they were measured on."""
        return Metrics(latency_ms_p50=self.p50_ms, latency_ms_p95=self.p95_ms, latency_context=self.context)


def decoding_latency(model: LanguageModel, tokens: int = 64, prompt_tokens: int = 64, rounds: int = 3) -> Latency:
    """Decode `tokens` tokens greedily behind a prompt and time each, after a warm-up; on the device the model is on.

    The best of the rounds counts, the one with the lowest median: other work on the machine can only add to a latency. For the
    same reason a model that decodes on a single CPU thread is timed by that thread's CPU clock, which stands still while other
    processes run: with ten times more processes than cores a token takes ten times as long by the wall clock, and 1.5 times by
    this one. On an idle machine the two agree.

    Every token is read on the host, as a server must: a GPU's queue cannot hide work from the clock. What the tokens are does not
    matter, so an untrained model will do, and no token ends the sequence.

    Raises:
        ValueError: the context of the model is too short to time a single token.
    """
    prompt_tokens, tokens = lengths_that_fit(model.arch.context_len, tokens, prompt_tokens)
    prompt = tuple(position % model.vocab_size for position in range(prompt_tokens))
    params = SamplingParams(max_tokens=WARMUP_TOKENS + tokens, temperature=0)
    sequence = Sequence(prompt, params, frozenset())
    clock = _clock(model.device)
    best, *others = sorted((_round(model, sequence, clock) for _ in range(rounds)), key=lambda latency: latency.p50_ms)
    return replace(best, p50_uncertainty_ms=others[0].p50_ms - best.p50_ms if others else None)


def latency_context(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> LatencyContext:
    """What a latency on `device` (of torch), measured in this process as it is now, is measured on."""
    precision = str(dtype).removeprefix("torch.")
    return LatencyContext(device=device_name(str(device)), threads=torch.get_num_threads(), precision=precision)


def device_name(device: str = "cpu") -> str:
    """The name of a device of torch, as the device itself gives it."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not a Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _clock(device: torch.device) -> Callable[[], float]:
    """The clock, in seconds, that other processes disturb least: with several threads, or a GPU, that is the wall clock."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def _round(model: LanguageModel, sequence: Sequence, clock: Callable[[], float]) -> Latency:
    times = []
    started = clock()
    for _ in generate(TorchBackend(model), sequence, EngineSettings(cache_bytes=0, max_draft=0)):
        now = clock()
        times.append((now - started) * 1000)
        started = now
    timed = sorted(times[WARMUP_TOKENS:])
    context = latency_context(model.device, next(model.parameters()).dtype)
    return Latency(statistics.median(timed), timed[int(0.95 * (len(timed) - 1))], len(timed), context)
