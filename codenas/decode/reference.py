"""The slow, clear way, which every faster one is tested against: the whole forward pass again for every token."""

from collections import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from codenas.decode.backend import Backend, ForwardBatch, Logits, StateBlock, runs_of
from codenas.decode.sampler import Sampler
from codenas.decode.sequence import Sequence
from codenas.model import LanguageModel


def reference_tokens(model: LanguageModel, sequence: Sequence) -> Iterator[int]:
    """The tokens that `sequence` is answered with, up to a stop token, which is left out."""
    sampler, tokens = Sampler(sequence), list(sequence.prompt)
    for _ in range(sequence.params.max_tokens):
        token = sampler(_logits(model, tokens)[-1])
        if token in sequence.stop_token_ids:
            return
        yield token
        tokens.append(token)


@dataclass(slots=True, frozen=True)
class TokenBlock:
    """A `StateBlock` of the reference: the tokens themselves."""

    start: int
    stop: int
    tokens: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return 8 * len(self.tokens)


class ReferenceBackend(Backend):
    """A backend whose only state are the tokens."""

    def __init__(self, model: LanguageModel, slots: int = 1, max_tokens: int = 512) -> None:
        self._model = model
        self._tokens: list[list[int]] = [[] for _ in range(slots)]
        self._marks: dict[int, int] = {}
        self.vocab_size, self.context_len = model.vocab_size, model.arch.context_len
        self.slots, self.max_tokens, self.truncatable = slots, max_tokens, True

    def forward(self, batch: ForwardBatch) -> Logits:
        rows = []
        for run in runs_of(batch):
            tokens = self._tokens[run.slot]
            if int(batch.positions[run.start]) != len(tokens):
                raise ValueError(f"position {batch.positions[run.start]} does not follow {len(tokens)} tokens")
            tokens += batch.tokens[run.start : run.stop].tolist()
            rows.append(_logits(self._model, tokens)[run.start - run.stop :])
        found: Logits = np.concatenate(rows)[batch.wanted]
        return found

    def length(self, slot: int) -> int:
        return len(self._tokens[slot])

    def reset(self, slot: int) -> None:
        self._tokens[slot] = []

    def copy(self, source: int, target: int) -> None:
        self._tokens[target] = list(self._tokens[source])

    def truncate(self, slot: int, length: int) -> None:
        if not 0 <= length <= self.length(slot):
            raise ValueError(f"a sequence of {self.length(slot)} tokens cannot be truncated to {length}")
        del self._tokens[slot][length:]

    def mark(self, slot: int) -> None:
        self._marks[slot] = self.length(slot)

    def rewind(self, slot: int) -> None:
        self.truncate(slot, self._marks[slot])

    def save(self, slot: int, start: int, stop: int) -> StateBlock:
        if not 0 <= start < stop <= self.length(slot):
            raise ValueError(f"positions {start} to {stop} of a sequence of {self.length(slot)} cannot be saved")
        return TokenBlock(start, stop, tuple(self._tokens[slot][start:stop]))

    def restore(self, slot: int, blocks: abc.Sequence[StateBlock]) -> None:
        self._tokens[slot] = [token for block in cast(abc.Sequence[TokenBlock], blocks) for token in block.tokens]

    def state_bytes(self, length: int) -> int:
        return 8 * length


@torch.inference_mode()
def _logits(model: LanguageModel, tokens: list[int]) -> Logits:
    """Of all tokens, [tokens, vocab_size]."""
    logits: Logits = model(torch.tensor([tokens], device=model.device))[0].float().cpu().numpy()
    return logits
