"""The decoding loop: requests arrive on the event loop, the steps of the decoding engine run in one thread.

The event loop touches the engine only between two calls, while that thread is idle: no lock is needed. To pass from one thread to the
other takes as long as a step of a small model, so a call makes as many steps as fit `CALL_S`, unless a request arrives.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from codenas.decode import Engine, Event, Failed, Finished, FinishReason, Produced, PromptScored, Sequence, TextStream, TokenLogprobs
from codenas.log import LOGGER
from codenas.vocab import Vocabulary

CALL_S = 0.002  # a reader cannot tell text that comes so much later


class Overloaded(Exception):
    """The queue is full: `outstanding` of `limit` sequences are active or waiting."""

    def __init__(self, outstanding: int, limit: int) -> None:
        super().__init__(f"the queue is full: {outstanding} of {limit} sequences")
        self.outstanding, self.limit = outstanding, limit


class DecodingFailed(Exception):
    """A sequence of the request failed, or the engine stopped."""


@dataclass(slots=True)
class Delta:
    """What sequence `index` of a request has generated since the last delta. Text may arrive later than its tokens, see `TextStream`."""

    index: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def join(self, later: "Delta") -> None:
        """Append a later delta."""
        self.text += later.text
        self.tokens += later.tokens
        self.logprobs += later.logprobs
        self.prompt_logprobs += later.prompt_logprobs
        self.finish_reason = later.finish_reason


class Generation:
    """The generation for one request: its deltas as they arrive, and a way to cancel it."""

    def __init__(self, engine: "EngineHost", sequences: list[Sequence]) -> None:
        self._engine = engine
        self._arrived: asyncio.Queue[Delta | DecodingFailed] = asyncio.Queue()
        self.states = [_SequenceState(index, sequence, self._arrived) for index, sequence in enumerate(sequences)]

    async def deltas(self, interval_s: float = 0.0) -> AsyncIterator[list[Delta]]:
        """Lists of new deltas, at most one per sequence, until every sequence is finished.

        Args:
            interval_s: minimum seconds between two lists; the first is yielded at once.

        Raises:
            DecodingFailed: a sequence failed.
        """
        open_sequences = len(self.states)
        while open_sequences:
            ready = [await self._arrived.get()]
            while not self._arrived.empty():
                ready.append(self._arrived.get_nowait())
            joined: dict[int, Delta] = {}
            for delta in ready:
                if isinstance(delta, DecodingFailed):
                    raise delta
                joined.setdefault(delta.index, Delta(delta.index)).join(delta)
            open_sequences -= sum(delta.finish_reason is not None for delta in joined.values())
            yield list(joined.values())
            if open_sequences:
                await asyncio.sleep(interval_s)

    def cancel(self) -> None:
        """Cancel the sequences of this request that are not finished."""
        self._engine.cancel(self.states)


@dataclass(slots=True, eq=False)
class _SequenceState:
    """One sequence of a request: its id in the engine, its text so far, and the queue of its deltas."""

    index: int
    sequence: Sequence
    out: "asyncio.Queue[Delta | DecodingFailed]"
    id: int = 0
    text: TextStream = field(init=False)

    def __post_init__(self) -> None:
        self.text = TextStream(self.sequence.params.stop)

    def handle(self, event: Event, vocabulary: Vocabulary) -> bool:
        """Queue `event` as a delta; returns whether the sequence is finished."""
        delta = Delta(self.index)
        match event:
            case PromptScored(logprobs=logprobs):
                delta.prompt_logprobs = logprobs
            case Produced(tokens=tokens, logprobs=logprobs):
                for token in tokens:
                    delta.text += self.text.push(vocabulary.decode([token]))
                    delta.tokens.append(token)
                    if self.text.stopped:
                        delta.finish_reason = "stop"
                        break
                delta.logprobs = list(logprobs[: len(delta.tokens)])
            case Finished(reason=reason):
                delta.text = self.text.close()
                delta.finish_reason = "stop" if self.text.stopped else reason
            case Failed():
                self.out.put_nowait(DecodingFailed())
                return True
        self.out.put_nowait(delta)
        return delta.finish_reason is not None


class EngineHost:
    """Decodes the sequences of all requests in one batch. `async with engine:` runs it."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, max_queue: int, threads: int = 1) -> None:
        self._engine, self._vocabulary = engine, vocabulary
        self.limit = engine.capacity + max_queue
        self._thread = ThreadPoolExecutor(1, "decode", torch.set_num_threads, (threads,))
        self._states: dict[int, _SequenceState] = {}
        self._submitted: list[_SequenceState] = []
        self._cancelled: list[_SequenceState] = []
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "EngineHost":
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._loop
        self._thread.shutdown()

    @property
    def alive(self) -> bool:
        """Whether the decoding loop runs."""
        return self._loop is not None and not self._loop.done()

    @property
    def active(self) -> int:
        """The number of sequences in the batch."""
        return self._engine.active

    @property
    def outstanding(self) -> int:
        """The number of sequences that are not finished."""
        return len(self._states) + len(self._submitted)

    def submit(self, sequences: list[Sequence]) -> Generation:
        """Queue all sequences of a request. The caller must cancel the generation when it stops reading it.

        Raises:
            Overloaded: the queue is full; a request is admitted with all its sequences or refused.
            DecodingFailed: the engine is not running.
        """
        if not self.alive:
            raise DecodingFailed
        if self.outstanding >= self.limit:
            raise Overloaded(self.outstanding, self.limit)
        generation = Generation(self, sequences)
        self._submitted += generation.states
        self._wake.set()
        return generation

    def cancel(self, states: list[_SequenceState]) -> None:
        """Cancel those of `states` that are not finished, before the next step."""
        self._submitted = [state for state in self._submitted if state not in states]
        self._cancelled += [state for state in states if state.id in self._states]
        self._wake.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._apply_pending()
                if self._engine.idle:
                    self._wake.clear()
                    continue
                events = await asyncio.get_running_loop().run_in_executor(self._thread, self._steps)
                self._deliver(events)
        except Exception:
            LOGGER.exception("the decoding loop ended")
            raise
        finally:
            for state in (*self._states.values(), *self._submitted):
                state.out.put_nowait(DecodingFailed())

    def _steps(self) -> list[Event]:
        """Steps of the engine, in its thread, until there is something else to do or somebody should see what there is."""
        until = time.perf_counter() + CALL_S
        events = self._engine.step()
        while not (self._engine.idle or self._submitted or self._cancelled) and time.perf_counter() < until:
            events += self._engine.step()
        return events

    def _apply_pending(self) -> None:
        """Cancel and admit the sequences that were requested during the last step."""
        for state in self._cancelled:
            self._engine.cancel(state.id)
            self._states.pop(state.id, None)
        self._cancelled.clear()
        for state in self._submitted:
            state.id = self._engine.admit(state.sequence)
            self._states[state.id] = state
        self._submitted.clear()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Failed):
                LOGGER.error("a sequence failed: %s", event.reason)
            state = self._states.get(event.id)  # None if a stop string has ended it
            if state is not None and state.handle(event, self._vocabulary):
                del self._states[event.id]
                self._engine.cancel(event.id)
