"""What the engine takes beside its forward passes, and what a cached prefix saves."""

import time
from statistics import median
from typing import cast

import numpy as np

from codenas.decode import SamplingParams, Sequence, TextStream
from codenas.decode.backend import Backend, ForwardBatch, Logits
from codenas.decode.engine import Engine
from codenas.decode.events import Produced
from codenas.decode.settings import EngineSettings
from codenas.vocab import Char

_PROMPT, _TOKENS = 256, 128
_SAMPLING = {
    "temperature 0": SamplingParams(max_tokens=_TOKENS, temperature=0),
    "temperature 0.2, top_p 0.95": SamplingParams(max_tokens=_TOKENS, temperature=0.2, top_p=0.95, seed=0),
}


def overhead(backend: Backend, rounds: int) -> dict[str, float]:
    """The time outside forward passes relative to that inside, by how tokens are sampled; medians over `rounds`."""
    found: dict[str, list[float]] = {name: [] for name in _SAMPLING}
    for _ in range(rounds):
        for name, params in _SAMPLING.items():
            found[name].append(_share(backend, params))
    return {name: median(shares) for name, shares in found.items()}


def prefix(backend: Backend, length: int, cached: int, rounds: int) -> tuple[float, int]:
    """The time of a prompt of `length` tokens whose first `cached` are in the cache, relative to an uncached one; tokens found there."""
    rng = np.random.default_rng(0)
    ratios, engine = [], Engine(backend, EngineSettings(max_draft=0))
    for _ in range(rounds):
        first, second, other = (tuple(rng.integers(0, backend.vocab_size, length).tolist()) for _ in range(3))
        _answer(engine, first)
        hit = _answer(engine, (*first[:cached], *second[cached:]))
        ratios.append(hit / _answer(engine, other))
    return median(ratios), engine.statistics.cached_tokens // rounds


def _answer(engine: Engine, prompt: tuple[int, ...]) -> float:
    """Seconds until the first token behind `prompt`."""
    started = time.perf_counter()
    engine.admit(Sequence(prompt, SamplingParams(max_tokens=1, temperature=0), frozenset()))
    while not engine.idle:
        engine.step()
    return time.perf_counter() - started


def _share(backend: Backend, params: SamplingParams) -> float:
    vocabulary = Char(chr(0x4E00 + index) for index in range(backend.vocab_size - Char(()).size))
    timed = _Timed(backend)
    engine, stream = Engine(cast(Backend, timed), EngineSettings(cache_bytes=0, max_draft=0)), TextStream(("\n\n",))
    engine.admit(Sequence(tuple(position % backend.vocab_size for position in range(_PROMPT)), params, frozenset()))
    engine.step()
    timed.seconds, started = 0.0, time.perf_counter()
    while not engine.idle:
        for event in engine.step():
            if isinstance(event, Produced):
                stream.push(vocabulary.decode(event.tokens))
    return (time.perf_counter() - started - timed.seconds) / timed.seconds


class _Timed:
    """A backend with a watch on its forward passes."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self.seconds = backend, 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def forward(self, batch: ForwardBatch) -> Logits:
        started = time.perf_counter()
        logits = self._backend.forward(batch)
        self.seconds += time.perf_counter() - started
        return logits
