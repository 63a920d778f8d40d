"""The decoding engine as a state machine without threads: the caller admits sequences and calls `step`.

A step is one forward pass: the last token of every sequence that is decoded, with the tokens drafted for it, and beside them parts of
the prompts that wait (chunked prefill). A sequence is its tokens; what of them is in the state of a slot can be taken away and computed
again. Preemption, a failed forward pass and rejected drafts are therefore the same case as a prompt: tokens that are pending.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codenas.decode.backend import Backend, ForwardBatch, Logits
from codenas.decode.drafting import ForwardCost, NgramDrafter, best_draft
from codenas.decode.events import Event, Failed, Finished, Produced, Statistics
from codenas.decode.native.library import available_targets
from codenas.decode.native.sampling import native_sample
from codenas.decode.running import NO_SLOT, Running
from codenas.decode.sampling import sample
from codenas.decode.sequence import Sequence
from codenas.decode.settings import EngineSettings
from codenas.decode.slots import Slots


@dataclass(slots=True)
class _Work:
    """What one sequence does in a forward pass: `count` of its pending tokens, then drafted ones."""

    running: Running
    count: int
    drafted: list[int]
    wanted: int  # logits of so many of the last tokens are read


class Engine:
    """Decodes up to `backend.slots` sequences at a time; further ones wait in order of arrival."""

    def __init__(self, backend: Backend, settings: EngineSettings | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """An engine for sequences in the slots of `backend`, which nobody else may use.

        Args:
            clock: seconds, for the cost of a forward pass; no token depends on it.

        Raises:
            ValueError: a forward pass has fewer tokens than there are slots.
        """
        self._backend, self._settings, self._clock = backend, settings or EngineSettings(), clock
        self._step_tokens = min(self._settings.step_tokens, backend.max_tokens)
        if self._step_tokens < backend.slots:
            raise ValueError(f"{self._step_tokens} tokens of a forward pass are fewer than {backend.slots} slots")
        self._slots, self._cost = Slots(backend, self._settings), ForwardCost()
        self._sample = native_sample if available_targets() else sample
        self._waiting: deque[Running] = deque()
        self._running: list[Running] = []  # in order of admission
        self._next_id = 0
        self.statistics = Statistics()

    @property
    def capacity(self) -> int:
        """The most sequences that are decoded at a time."""
        return self._backend.slots

    @property
    def context_len(self) -> int:
        """The most tokens of a sequence."""
        return self._backend.context_len

    @property
    def active(self) -> int:
        """The number of sequences that are being decoded."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """The number of sequences that wait for a slot."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._running and not self._waiting

    @property
    def cached_bytes(self) -> int:
        """Bytes of the prefix cache."""
        return self._slots.cache.nbytes

    def admit(self, sequence: Sequence) -> int:
        """Queue `sequence`; returns the id that its events carry.

        Raises:
            ValueError: a token is outside the vocabulary, there is no prompt, or it does not fit the context or the memory.
        """
        size, context_len, prompt = self._backend.vocab_size, self._backend.context_len, sequence.prompt
        if not prompt or min(prompt) < 0 or max(prompt) >= size:
            raise ValueError(f"a prompt needs tokens from 0 to {size - 1}")
        if any(not 0 <= token < size for token in sequence.params.logit_bias):
            raise ValueError(f"logit_bias needs tokens from 0 to {size - 1}")
        length = len(prompt) + sequence.params.max_tokens
        if length > context_len:
            raise ValueError(f"{len(prompt)} + {sequence.params.max_tokens} tokens do not fit {context_len}")
        limit, needed = self._settings.state_bytes, self._backend.state_bytes(length)
        if limit is not None and needed > limit:
            raise ValueError(f"a state of {needed} bytes is larger than {limit}, the limit of the engine (state_bytes)")
        self._next_id += 1
        self._waiting.append(Running(self._next_id, sequence, self._sample))
        return self._next_id

    def cancel(self, id: int) -> None:
        """Remove sequence `id`, waiting or active; does nothing if it has finished. Emits no event."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting.id != id)
        for running in self._running:
            if running.id == id:
                return self._release(running)

    def step(self) -> list[Event]:
        """One forward pass. Every sequence that is decoded gets a token at least; parts of prompts are computed beside them."""
        events: list[Event] = []
        self._start_waiting(events)
        work = self._plan()
        if work:
            self._forward(work, events)
        return events

    # Admission

    def _start_waiting(self, events: list[Event]) -> None:
        """Give slots to waiting sequences, in order of arrival."""
        while self._waiting and not self._slots.full and self._slots.fit([*self._running, self._waiting[0]]):
            running = self._waiting.popleft()
            if running.sequence.params.max_tokens == 0 and not running.unscored:
                events.append(Finished(running.id, "length"))
            else:
                self._start(running)

    def _start(self, running: Running) -> None:
        """Give `running` a slot, with what is known of its state."""
        self._slots.occupy(running)
        running.leader = None if running.unscored else self._leader(running)
        if running.leader is None:
            self._slots.restore_prefix(running)
        if not running.started:
            running.started = True
            self.statistics.prompt_tokens += len(running.tokens)
            self.statistics.cached_tokens += len(running.tokens) if running.leader is not None else running.length
        self._running.append(running)

    def _leader(self, running: Running) -> Running | None:
        """A sequence that computes the same tokens now; with n > 1, the prompt is computed once."""
        for other in self._running:
            if other.leader is None and other.in_prompt and not (other.alone or running.alone) and other.tokens == running.tokens:
                return other
        return None

    def _preempt(self, running: Running) -> None:
        """Take the slot from `running`; it is the next to get one, and goes on exactly where it was."""
        self._release(running)
        self._waiting.appendleft(running)
        self.statistics.preemptions += 1

    def _release(self, running: Running) -> None:
        """Free the slot of `running`. Whoever waits for its prompt computes it alone."""
        self._slots.release(running, share=not running.alone)
        self._running.remove(running)
        running.leader = None
        for other in self._running:
            if other.leader is running:
                other.leader = None
                self._slots.restore_prefix(other)

    # The forward pass

    def _plan(self) -> list[_Work]:
        """Who does what in the next forward pass."""
        while not self._slots.fit(self._running):
            self._preempt(self._running[-1])
        alone = next((running for running in self._running if running.alone), None)
        if alone is not None:
            return [self._work(alone, self._step_tokens, [])]
        decoded = [running for running in self._running if running.pending == 1 and running.leader is None]
        prefilled = [running for running in self._running if running.pending > 1 and running.leader is None]
        budget = self._step_tokens - len(decoded)
        work = []
        for running in decoded:
            drafted = self._draft(running, budget, len(decoded))
            budget -= len(drafted)
            work.append(self._work(running, 1, drafted))
        for running in prefilled:
            if budget > 0:
                work.append(self._work(running, budget, []))
                budget -= work[-1].count
        return work

    def _work(self, running: Running, most: int, drafted: list[int]) -> _Work:
        """`running` computes at most `most` of its pending tokens."""
        end = min(self._slots.next_stop(running), running.length + most)
        count = end - running.length
        if running.unscored:
            return _Work(running, count, drafted, count)
        return _Work(running, count, drafted, 1 + len(drafted) if end == len(running.tokens) else 0)

    def _draft(self, running: Running, budget: int, sequences: int) -> list[int]:
        """Drafted tokens for `running`, as many as are worth their cost."""
        most = min(self._settings.max_draft, budget, running.remaining - 1)
        if most <= 0 or running.in_prompt:  # the state of a prompt may be copied, and must not hold drafted tokens
            return []
        drafter = running.drafter
        if drafter is None:
            drafter = running.drafter = NgramDrafter(running.tokens)
        count = best_draft(drafter.acceptance, self._cost.relative_slope(), sequences, most, not self._backend.truncatable)
        if not count:
            drafter.skip()
        return drafter.propose(count)

    def _forward(self, work: list[_Work], events: list[Event]) -> None:
        """Compute `work` and sample."""
        for each in work:
            if each.drafted:
                self._slots.mark(each.running)
        batch = _batch(work)
        started = self._clock()
        try:
            logits = self._backend.forward(batch)
        except Exception as error:
            return self._isolate([each.running for each in work], error, events)
        self._cost.record(len(batch.tokens), self._clock() - started)
        self.statistics.forwards += 1
        self.statistics.computed_tokens += len(batch.tokens)
        row = 0
        for each in work:
            each.running.length += each.count
            each.running.alone = False
            self._advance(each, logits[row : row + each.wanted], events)
            row += each.wanted

    def _isolate(self, members: list[Running], error: Exception, events: list[Event]) -> None:
        """A forward pass failed, and the states of all its `members` may be damaged: each is computed again, alone.

        Whoever fails alone has failed; the others go on.
        """
        single = len(members) == 1
        for running in reversed(members):
            running.alone = True
            self._release(running)
            if single:
                events.append(Failed(running.id, f"{type(error).__name__}: {error}"))
            else:
                self._waiting.appendleft(running)

    def _advance(self, work: _Work, logits: Logits, events: list[Event]) -> None:
        """Score, save and sample what the forward pass gave for one sequence."""
        running = work.running
        if running.unscored:
            events += running.score(logits)
            logits = logits[-1:]
        if not work.drafted:
            self._slots.save_snapshot(running)
        if running.pending:
            return
        completed_prompt = running.in_prompt
        followers = [other for other in self._running if other.leader is running]
        for other in followers:
            self._slots.copy(running, other)
            other.leader = None
        for each in (running, *followers):
            self._sample_next(each, logits, work.drafted, events)
        if completed_prompt and running.slot != NO_SLOT:
            self._slots.save_blocks(running)

    def _sample_next(self, running: Running, logits: Logits, drafted: list[int], events: list[Event]) -> None:
        """Sample the next tokens of `running`, and take rejected drafts back."""
        before = len(running.tokens)
        sampled, accepted = running.sample(logits, drafted)
        events += sampled
        self.statistics.generated_tokens += len(running.tokens) - before
        if drafted:
            assert running.drafter is not None
            running.drafter.record(len(drafted), accepted)
            self.statistics.drafted_tokens += len(drafted)
            self.statistics.accepted_tokens += accepted
            self._slots.take_back(running, len(drafted), accepted)
        if isinstance(sampled[-1], Failed):
            running.alone = True
            self._slots.cache.discard(running.digests)  # whatever is wrong with its state must not be shared
        if not isinstance(sampled[-1], Produced):
            self._release(running)


def _batch(work: list[_Work]) -> ForwardBatch:
    """The tokens of a forward pass as arrays."""
    tokens: list[int] = []
    slots: list[int] = []
    positions: list[int] = []
    wanted: list[int] = []
    for each in work:
        running, stop = each.running, each.running.length + each.count
        tokens += running.tokens[running.length : stop]
        tokens += each.drafted
        positions += range(running.length, stop + len(each.drafted))
        slots += [running.slot] * (len(tokens) - len(slots))
        wanted += range(len(tokens) - each.wanted, len(tokens))
    return ForwardBatch(*(np.array(values, dtype=np.int32) for values in (tokens, slots, positions, wanted)))
