"""The speed of engines that decode, side by side: all of them in one process, interleaved by rounds, so that what else the machine does
falls on each of them alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from codenas.arch.storage import Storage
from codenas.decode.backend import ForwardBatch, Logits
from codenas.measure.contenders import Contender
from codenas.measure.footprint import Footprint
from codenas.measure.served import clock_of
from codenas.measure.workload import SAMPLED, Decoder, Workload, batch_of, read_prompt, step_of
from codenas.metrics import LatencyContext


class Speed(BaseModel):
    """What one engine takes. Times are medians over all rounds by the clock of `context`.

    Attributes:
        engine: its name and its weights, such as `llama.cpp q8_0`.
        storage: of the checkpoint that its weights are from.
        context: device, threads, precision, backend and clock.
        token_ms, token_p90_ms: of one token at one stream, behind the prompt.
        tokens_per_s: at one stream.
        prompt_ms: until the logits behind the prompt.
        request_ms: of a prompt and the tokens behind it.
        streams_tokens_per_s: of all streams together.
        draft_cost: of so many tokens at once, relative to one.
        logits_error: root mean square of the difference to the reference, relative to the spread of the logits; None where there is none.
        weights_bytes: of the file.
        footprint: loading time and memory; None where they were not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    storage: Storage
    context: LatencyContext
    token_ms: float
    token_p90_ms: float
    tokens_per_s: float
    prompt_ms: float
    request_ms: float
    streams_tokens_per_s: float
    draft_cost: dict[int, float]
    logits_error: float | None
    weights_bytes: int
    footprint: Footprint | None = None


class SpeedComparison(BaseModel):
    """The file of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    vocab_size: int
    workload: Workload
    speeds: tuple[Speed, ...]


@dataclass(slots=True)
class _Times:
    """Seconds."""

    token: list[float] = field(default_factory=list)
    prompt: list[float] = field(default_factory=list)
    request: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    drafts: dict[int, list[float]] = field(default_factory=dict)


class _Run:
    """One engine: a decoder with one slot, another with one for each stream, and their times."""

    def __init__(self, contender: Contender, workload: Workload) -> None:
        self.contender, self._workload, self.times = contender, workload, _Times()
        self._clock = clock_of(contender.context)
        self._single = contender.open(1, workload.context_len)
        self._many = contender.open(workload.streams, workload.context_len)
        self._ids = workload.ids(self._single.vocab_size)
        self.sample = _sample(self._single, workload)
        for slot, ids in enumerate(self._ids):
            read_prompt(self._many, ids[: workload.prompt], slot)
            self._many.mark(slot)
        self._many.forward(step_of(self._ids[:, workload.prompt], workload.prompt))  # allocates what a step needs

    def round(self) -> None:
        """All of the workload once."""
        self._request()
        self._drafts()
        self._streams()

    def _request(self) -> None:
        prompt, ids = self._workload.prompt, self._ids[0]
        started = self._clock()
        read_prompt(self._single, ids[:prompt], 0)
        self.times.prompt.append(self._clock() - started)
        steps = [self._timed(self._single, batch_of(ids[at : at + 1], 0, at)) for at in range(prompt, prompt + self._workload.tokens)]
        self.times.request.append(self.times.prompt[-1] + sum(steps))
        self.times.token.extend(steps)

    def _drafts(self, repeats: int = 4) -> None:
        prompt, ids = self._workload.prompt, self._ids[0]
        read_prompt(self._single, ids[:prompt], 0)
        self._single.mark(0)
        for count in (1, *self._workload.drafts) * repeats:
            seconds = self._timed(self._single, batch_of(ids[prompt : prompt + count], 0, prompt))
            self.times.drafts.setdefault(count, []).append(seconds)
            self._single.rewind(0)

    def _streams(self) -> None:
        for slot in range(self._workload.streams):
            self._many.rewind(slot)
        for at in range(self._workload.prompt, self._workload.prompt + self._workload.stream_steps):
            self.times.step.append(self._timed(self._many, step_of(self._ids[:, at], at)))

    def _timed(self, decoder: Decoder, batch: ForwardBatch) -> float:
        started = self._clock()
        decoder.forward(batch)
        return self._clock() - started


def measure_speeds(
    contenders: Sequence[Contender],
    workload: Workload,
    references: Sequence[Logits | None] | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """Time every contender at `workload`.

    Args:
        references: for each contender, what `sample_logits` gives of a reference with the same weights.
        on_round: called after each round of all contenders.
    """
    runs = [_Run(contender, workload) for contender in contenders]
    for _ in range(workload.rounds):
        for run in runs:
            run.round()
        on_round()
    expected = references or [None] * len(runs)
    return [_speed(run, workload, reference) for run, reference in zip(runs, expected, strict=True)]


def sample_logits(contender: Contender, workload: Workload) -> Logits:
    """The logits behind the prompt and behind each of the first `SAMPLED` tokens, [1 + SAMPLED, vocab_size]."""
    decoder = contender.open(1, workload.context_len)
    return _sample(decoder, workload)


def _speed(run: _Run, workload: Workload, reference: Logits | None) -> Speed:
    times, contender = run.times, run.contender
    token, one = median(times.token), median(times.drafts[1])
    return Speed(
        engine=contender.name,
        storage=contender.storage,
        context=contender.context,
        token_ms=1000 * token,
        token_p90_ms=1000 * float(np.quantile(times.token, 0.9)),
        tokens_per_s=1 / token,
        prompt_ms=1000 * median(times.prompt),
        request_ms=1000 * median(times.request),
        streams_tokens_per_s=workload.streams / median(times.step),
        draft_cost={count: median(times.drafts[count]) / one for count in workload.drafts},
        logits_error=None if reference is None else float(np.sqrt(np.square(run.sample - reference).mean()) / reference.std()),
        weights_bytes=contender.weights_bytes,
    )


def _sample(decoder: Decoder, workload: Workload) -> Logits:
    ids, prompt = workload.ids(decoder.vocab_size)[0], workload.prompt
    found = [read_prompt(decoder, ids[:prompt], 0).copy()]
    found += [decoder.forward(batch_of(ids[at : at + 1], 0, at)).copy() for at in range(prompt, prompt + SAMPLED)]
    return np.concatenate(found)
