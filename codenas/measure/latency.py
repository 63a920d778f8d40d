"""Latency per token, measured on the decoding path that users get: a prompt in the cache, one sequence, token by token."""

import statistics
from dataclasses import dataclass, replace

from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend
from codenas.decode.engine import Engine
from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import Sequence
from codenas.decode.settings import EngineSettings
from codenas.measure.served import clock_of, open_served
from codenas.measure.timed_tokens import WARMUP_TOKENS, lengths_that_fit
from codenas.metrics import LatencyContext, Metrics

_ENGINE = EngineSettings(cache_bytes=0, max_draft=0)  # neither an earlier round nor the random text may save work


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


def decoding_latency(model: StoredModel, device: str = "cpu", tokens: int = 64, prompt_tokens: int = 64, rounds: int = 3) -> Latency:
    """Decode `tokens` tokens greedily behind a prompt and time each, after a warm-up, with the engine and backend that serve `model` here.

    The best of the rounds counts, the one with the lowest median: other work on the machine can only add to a latency. For the
    same reason a model that decodes on a single CPU thread is timed by that thread's CPU clock, which stands still while other
    processes run: with ten times more processes than cores a token takes ten times as long by the wall clock, and 1.5 times by
    this one. On an idle machine the two agree.

    Every token is read on the host, as a server must: a GPU's queue cannot hide work from the clock. What the tokens are does not
    matter, so an untrained model will do, and no token ends the sequence.

    Args:
        device: of torch.

    Raises:
        ValueError: the context of the model is too short to time a single token.
    """
    lengths_that_fit(model.arch.context_len, tokens, prompt_tokens)  # before anything is loaded
    return backend_latency(*open_served(model, device), tokens, prompt_tokens, rounds)


def backend_latency(backend: Backend, context: LatencyContext, tokens: int = 64, prompt_tokens: int = 64, rounds: int = 3) -> Latency:
    """`decoding_latency` of a model that is open already.

    Args:
        context: what the times are measured on; its clock is read.
    """
    prompt_tokens, tokens = lengths_that_fit(backend.context_len, tokens, prompt_tokens)
    prompt = tuple(position % backend.vocab_size for position in range(prompt_tokens))
    sequence = Sequence(prompt, SamplingParams(max_tokens=WARMUP_TOKENS + tokens, temperature=0), frozenset())
    best, *others = sorted((_round(backend, sequence, context) for _ in range(rounds)), key=lambda latency: latency.p50_ms)
    return replace(best, p50_uncertainty_ms=others[0].p50_ms - best.p50_ms if others else None)


def _round(backend: Backend, sequence: Sequence, context: LatencyContext) -> Latency:
    clock, times = clock_of(context), list[float]()
    started = clock()
    for _ in generate(Engine(backend, _ENGINE), sequence):
        now = clock()
        times.append((now - started) * 1000)
        started = now
    timed = sorted(times[WARMUP_TOKENS:])
    return Latency(statistics.median(timed), timed[int(0.95 * (len(timed) - 1))], len(timed), context)
