"""Continuous batching as a state machine without clock or threads: the caller calls `step`.

The rows 0..n-1 of one decoding state hold the n active sequences, so the cost of a step grows with the active sequences only.
Each step prefills at most one prompt, so that active sequences keep generating.
"""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from codenas.decode.sampling import Sampler, TokenLogprobs, token_logprobs
from codenas.decode.sequence import FinishReason, Sequence
from codenas.model import LanguageModel


@dataclass(slots=True, frozen=True)
class Produced:
    """Sequence `id` has generated a token; `logprobs` is set if the sequence asked for them."""

    id: int
    token: int
    logprobs: TokenLogprobs | None = None


@dataclass(slots=True, frozen=True)
class PromptScored:
    """Log-probabilities of the prompt tokens of sequence `id`; None for the first token, which has no predecessor."""

    id: int
    logprobs: list[TokenLogprobs | None]


@dataclass(slots=True, frozen=True)
class Finished:
    """Sequence `id` is complete."""

    id: int
    reason: FinishReason


@dataclass(slots=True, frozen=True)
class Failed:
    """Sequence `id` failed; the others continue."""

    id: int
    reason: str


Event = Produced | PromptScored | Finished | Failed


class _Row:
    """An active sequence: its sampler, its last token and the number of tokens it has generated."""

    __slots__ = ("generated", "id", "sampler", "sequence", "token")

    def __init__(self, id: int, sequence: Sequence) -> None:
        self.id, self.sequence = id, sequence
        self.sampler, self.token, self.generated = Sampler(sequence.params), -1, 0

    def sample(self, logits: Tensor) -> list[Event]:
        """Sample from `logits` [vocab]; returns a token, the end of the sequence, or both."""
        params = self.sequence.params
        if params.max_tokens == 0:
            return [Finished(self.id, "length")]
        if not bool(torch.isfinite(logits).all()):
            return [Failed(self.id, "the model's logits are not finite")]
        self.token = self.sampler(logits)
        if self.token in self.sequence.stop_token_ids:
            return [Finished(self.id, "stop")]
        self.generated += 1
        produced = Produced(self.id, self.token, None if params.logprobs is None else token_logprobs(logits, self.token, params.logprobs))
        return [produced, Finished(self.id, "length")] if self.generated == params.max_tokens else [produced]


class Batcher:
    """Decodes up to `capacity` sequences at a time; further ones wait in order of arrival."""

    def __init__(self, model: LanguageModel, capacity: int) -> None:
        self._model, self.capacity = model, capacity
        self._state = model.initial_state(capacity)
        self._waiting: deque[tuple[int, Sequence]] = deque()
        self._rows: list[_Row] = []
        self._next_id = 0

    @property
    def active(self) -> int:
        """The number of sequences that are being decoded."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """The number of sequences that wait for a row."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._rows and not self._waiting

    def submit(self, sequence: Sequence) -> int:
        """Queue `sequence`; returns the id that its events carry.

        Raises:
            ValueError: a token is outside the vocabulary, there is no prompt, or it does not fit the context.
        """
        if not sequence.prompt or min(sequence.prompt) < 0 or max(sequence.prompt) >= self._model.vocab_size:
            raise ValueError(f"a prompt needs tokens from 0 to {self._model.vocab_size - 1}")
        if len(sequence.prompt) + sequence.params.max_tokens > self._model.arch.context_len:
            raise ValueError(f"{len(sequence.prompt)} + {sequence.params.max_tokens} tokens do not fit {self._model.arch.context_len}")
        self._next_id += 1
        self._waiting.append((self._next_id, sequence))
        return self._next_id

    def cancel(self, id: int) -> None:
        """Remove sequence `id`, waiting or active; does nothing if it has finished. Emits no event."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != id)
        for index, row in enumerate(self._rows):
            if row.id == id:
                return self._free(index)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Generate one token for every active sequence, and prefill one waiting sequence if a row is free."""
        events: list[Event] = []
        if self._rows:
            self._decode(events)
        if self._waiting and len(self._rows) < self.capacity:
            self._admit(events)
        return events

    def _decode(self, events: list[Event]) -> None:
        """One token for every row."""
        tokens = torch.tensor([[row.token] for row in self._rows], device=self._model.device)
        state = self._state.rows(0, len(self._rows))
        try:
            logits = self._model.extend(tokens, state)[:, -1].cpu()
        except Exception as error:  # the row that caused it is unknown, and any row may be corrupted
            events.extend(Failed(row.id, _reason(error)) for row in self._rows)
            self._rows.clear()
            return
        self._state.lengths[: len(self._rows)] = state.lengths
        # In reverse: freeing a row moves the last one into it, which must have been sampled before.
        for index in reversed(range(len(self._rows))):
            self._sample_row(index, logits[index], events)

    def _admit(self, events: list[Event]) -> None:
        """Prefill the first waiting sequence in the row after the active ones, and sample its first token."""
        index, (id, sequence) = len(self._rows), self._waiting.popleft()
        if sequence.params.max_tokens == 0 and not sequence.prompt_logprobs:
            events.append(Finished(id, "length"))
            return
        # Masked values of the previous sequence get weight 0 in softmax, but 0 * NaN is NaN: the row must be cleared.
        self._state.reset(index)
        state = self._state.rows(index, index + 1)
        try:
            logits = self._model.extend(torch.tensor([sequence.prompt], device=self._model.device), state)[0]
        except Exception as error:
            events.append(Failed(id, _reason(error)))
            return
        self._state.lengths[index] = state.lengths[0]
        self._rows.append(_Row(id, sequence))
        if sequence.prompt_logprobs:
            events.append(PromptScored(id, _prompt_logprobs(sequence, logits.cpu())))
        self._sample_row(index, logits[-1].cpu(), events)

    def _sample_row(self, index: int, logits: Tensor, events: list[Event]) -> None:
        """Sample the next token of row `index` from `logits` [vocab]; the row is freed if its sequence ends."""
        row = self._rows[index]
        try:
            events.extend(row.sample(logits))
        except Exception as error:
            events.append(Failed(row.id, _reason(error)))
        if not isinstance(events[-1], Produced):
            self._free(index)

    def _free(self, index: int) -> None:
        """Free row `index` by moving the last row into it."""
        last = len(self._rows) - 1
        if index != last:
            self._state.move(last, index)
            self._rows[index] = self._rows[last]
        self._rows.pop()


def _prompt_logprobs(sequence: Sequence, logits: Tensor) -> list[TokenLogprobs | None]:
    best = sequence.params.logprobs or 0
    following = zip(logits[:-1], sequence.prompt[1:], strict=True)
    return [None, *(token_logprobs(row, token, best) for row, token in following)]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
