"""The loop around the batcher: requests come in on the event loop, steps run in one thread of their own.

Between two steps nothing runs in that thread, and only then is the batcher touched from here: no lock is needed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from codenas.decode import Batcher, Event, Failed, Finished, FinishReason, Produced, Scored, Sequence, TextStream, TokenScores
from codenas.log import LOGGER
from codenas.vocab import Vocabulary


class Overloaded(Exception):
    """No place is left: `outstanding` of `limit` sequences are active or wait."""

    def __init__(self, outstanding: int, limit: int) -> None:
        super().__init__(f"{outstanding} of {limit} places are taken")
        self.outstanding, self.limit = outstanding, limit


class DecodingFailed(Exception):
    """A sequence of the request failed, or the engine did."""


@dataclass(slots=True)
class Piece:
    """What has come of the sequence `index` of a request since the last look. Tokens of held back text come before it."""

    index: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    scores: list[TokenScores | None] = field(default_factory=list)
    prompt_scores: list[TokenScores | None] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def join(self, later: "Piece") -> None:
        """Append what came later."""
        self.text += later.text
        self.tokens += later.tokens
        self.scores += later.scores
        self.prompt_scores += later.prompt_scores
        self.finish_reason = later.finish_reason


class Ticket:
    """The claim of one request on its answer."""

    def __init__(self, engine: "Engine", sequences: list[Sequence]) -> None:
        self._engine = engine
        self._arrived: asyncio.Queue[Piece | DecodingFailed] = asyncio.Queue()
        self.jobs = [_Job(index, sequence, self._arrived) for index, sequence in enumerate(sequences)]

    async def pieces(self, pace_s: float = 0.0) -> AsyncIterator[list[Piece]]:
        """All that has come since the last time, at most one piece per sequence, until every sequence is finished.

        Args:
            pace_s: seconds to gather between two lists; the first one comes at once.

        Raises:
            DecodingFailed: a sequence cannot go on.
        """
        open_sequences = len(self.jobs)
        while open_sequences:
            ready = [await self._arrived.get()]
            while not self._arrived.empty():
                ready.append(self._arrived.get_nowait())
            joined: dict[int, Piece] = {}
            for piece in ready:
                if isinstance(piece, DecodingFailed):
                    raise piece
                joined.setdefault(piece.index, Piece(piece.index)).join(piece)
            open_sequences -= sum(piece.finish_reason is not None for piece in joined.values())
            yield list(joined.values())
            if open_sequences:
                await asyncio.sleep(pace_s)

    def cancel(self) -> None:
        """Stop decoding whatever is left of this request."""
        self._engine.forget(self.jobs)


@dataclass(slots=True, eq=False)
class _Job:
    """One sequence on its way through the batcher."""

    index: int
    sequence: Sequence
    out: "asyncio.Queue[Piece | DecodingFailed]"
    id: int = 0
    text: TextStream = field(init=False)

    def __post_init__(self) -> None:
        self.text = TextStream(self.sequence.params.stop)

    def take(self, event: Event, vocabulary: Vocabulary) -> bool:
        """Pass `event` on as text; whether that was the end of the sequence."""
        piece = Piece(self.index)
        match event:
            case Scored(scores=scores):
                piece.prompt_scores = scores
            case Produced(token=token, scores=token_scores):
                piece.text, piece.tokens, piece.scores = self.text.push(vocabulary.decode([token])), [token], [token_scores]
                piece.finish_reason = "stop" if self.text.stopped else None
            case Finished(reason=reason):
                piece.text = self.text.close()
                piece.finish_reason = "stop" if self.text.stopped else reason
            case Failed():
                self.out.put_nowait(DecodingFailed())
                return True
        self.out.put_nowait(piece)
        return piece.finish_reason is not None


class Engine:
    """Decodes for everybody at once. `async with engine:` runs it."""

    def __init__(self, batcher: Batcher, vocabulary: Vocabulary, max_queue: int, threads: int = 1) -> None:
        self._batcher, self._vocabulary = batcher, vocabulary
        self.limit = batcher.capacity + max_queue
        self._thread = ThreadPoolExecutor(1, "decode", torch.set_num_threads, (threads,))
        self._jobs: dict[int, _Job] = {}
        self._arriving: list[_Job] = []
        self._leaving: list[_Job] = []
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Engine":
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
        """Whether requests will be answered."""
        return self._loop is not None and not self._loop.done()

    @property
    def active(self) -> int:
        """Sequences in the batch."""
        return self._batcher.active

    @property
    def outstanding(self) -> int:
        """Sequences that are not finished."""
        return len(self._jobs) + len(self._arriving)

    def submit(self, sequences: list[Sequence]) -> Ticket:
        """Queue all sequences of a request. The ticket must be cancelled when nobody reads it any more.

        Raises:
            Overloaded: every place is taken; a request is let in whole, or not at all.
            DecodingFailed: the engine does not run (any more).
        """
        if not self.alive:
            raise DecodingFailed
        if self.outstanding >= self.limit:
            raise Overloaded(self.outstanding, self.limit)
        ticket = Ticket(self, sequences)
        self._arriving += ticket.jobs
        self._wake.set()
        return ticket

    def forget(self, jobs: list[_Job]) -> None:
        """Drop those of `jobs` that are not finished, before the next step."""
        self._arriving = [job for job in self._arriving if job not in jobs]
        self._leaving += [job for job in jobs if job.id in self._jobs]
        self._wake.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._let_out_and_in()
                if self._batcher.idle:
                    self._wake.clear()
                    continue
                events = await asyncio.get_running_loop().run_in_executor(self._thread, self._batcher.step)
                self._deliver(events)
        except Exception:
            LOGGER.exception("the decoding loop ended")
            raise
        finally:
            for job in (*self._jobs.values(), *self._arriving):
                job.out.put_nowait(DecodingFailed())

    def _let_out_and_in(self) -> None:
        for job in self._leaving:
            self._batcher.cancel(job.id)
            self._jobs.pop(job.id, None)
        self._leaving.clear()
        for job in self._arriving:
            job.id = self._batcher.submit(job.sequence)
            self._jobs[job.id] = job
        self._arriving.clear()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Failed):
                LOGGER.error("a sequence failed: %s", event.reason)
            job = self._jobs.get(event.id)  # a stop string may have ended it a moment ago
            if job is not None and job.take(event, self._vocabulary):
                del self._jobs[event.id]
                self._batcher.cancel(event.id)
