"""What an engine that decodes is timed at, and the batches of it."""

from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from codenas.decode.backend import ForwardBatch, Ids, Logits

MAX_BATCH = 512  # tokens of one forward pass: a longer prompt is read in several
SAMPLED = 4  # tokens behind the prompt whose logits are compared


class Decoder(Protocol):
    """An engine with some slots, one sequence in each: the part of a `Backend` that is timed."""

    vocab_size: int

    def forward(self, batch: ForwardBatch) -> Logits:
        """See `codenas.decode.backend.Backend.forward`."""

    def reset(self, slot: int) -> None:
        """Make `slot` an empty sequence."""

    def mark(self, slot: int) -> None:
        """Remember the sequence in `slot`."""

    def rewind(self, slot: int) -> None:
        """Make `slot` the sequence that it was at `mark`."""


class Workload(BaseModel):
    """Lengths and counts, in tokens unless said otherwise.

    Attributes:
        prompt: read at once, the logits of its last token are computed.
        tokens: decoded behind it, one at a time; both together are a request.
        streams: sequences that are decoded at once, each behind a prompt.
        stream_steps: steps in which each of them gets a token.
        drafts: tokens of a sequence that are verified at once.
        rounds: every engine does all of this once a round, in turn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int = Field(256, ge=1)
    tokens: int = Field(48, ge=SAMPLED)
    streams: int = Field(8, ge=1)
    stream_steps: int = Field(16, ge=1)
    drafts: tuple[int, ...] = (2, 4, 8)
    rounds: int = Field(5, ge=1)

    @property
    def context_len(self) -> int:
        """The longest sequence."""
        return self.prompt + max(self.tokens, self.stream_steps, *self.drafts)

    def ids(self, vocab_size: int) -> Ids:
        """Random tokens, [streams, context_len]; the same for every engine."""
        drawn = np.random.default_rng(0).integers(0, vocab_size, (self.streams, self.context_len), dtype=np.int32)
        return drawn


def batch_of(tokens: Ids, slot: int, start: int, logits: Literal["all", "last", "none"] = "all") -> ForwardBatch:
    """The next `tokens` [n] of the sequence in `slot` from position `start` on, and of which of them logits are wanted."""
    count = len(tokens)
    first = {"all": 0, "last": count - 1, "none": count}[logits]
    positions = np.arange(start, start + count, dtype=np.int32)
    return ForwardBatch(tokens, np.full(count, slot, np.int32), positions, np.arange(first, count, dtype=np.int32))


def step_of(tokens: Ids, position: int) -> ForwardBatch:
    """The token at `position` of every sequence; `tokens` [slots]."""
    slots = np.arange(len(tokens), dtype=np.int32)
    return ForwardBatch(tokens, slots, np.full(len(tokens), position, np.int32), slots)


def read_prompt(decoder: Decoder, ids: Ids, slot: int) -> Logits:
    """The logits behind a new prompt; valid until the next forward pass."""
    decoder.reset(slot)
    for start in range(0, len(ids) - MAX_BATCH, MAX_BATCH):
        decoder.forward(batch_of(ids[start : start + MAX_BATCH], slot, start, "none"))
    start = (len(ids) - 1) // MAX_BATCH * MAX_BATCH
    return decoder.forward(batch_of(ids[start:], slot, start, "last"))
