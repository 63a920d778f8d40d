"""The interface between the decoding engine and what computes the forward pass. A backend knows tokens and states, no requests.

The state of a sequence lives in a slot of the backend. The parts of a state that the engine keeps for later (to share a prefix, to take
back rejected draft tokens, to resume a preempted sequence) are `StateBlock`s, which only the backend that made them can read.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Logits = NDArray[np.float32]


@dataclass(slots=True, frozen=True)
class ForwardBatch:
    """The tokens of one forward pass. The tokens of a sequence are neighbours, in order of position.

    Attributes:
        tokens: ids, [n].
        slots: the slot of each token's sequence, [n].
        positions: of each token in its sequence, [n]; the first one of a slot is the length of that slot, the others follow it.
        wanted: indices into `tokens` whose logits are computed, [m], ascending.
    """

    tokens: Ids
    slots: Ids
    positions: Ids
    wanted: Ids


@dataclass(slots=True, frozen=True)
class Run:
    """The tokens from `start` to `stop` of a batch, which belong to the sequence in `slot`."""

    slot: int
    start: int
    stop: int


def runs_of(batch: ForwardBatch) -> list[Run]:
    """The sequences of `batch`, in its order."""
    starts = [0, *(np.flatnonzero(np.diff(batch.slots)) + 1).tolist()]
    return [Run(int(batch.slots[start]), start, stop) for start, stop in zip(starts, [*starts[1:], len(batch.slots)], strict=True)]


class StateBlock(Protocol):
    """A copy of what one slot holds of some consecutive positions; with recurrent layers, of their state behind the last of them."""

    @property
    def start(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class Backend(ABC):
    """Forward passes over the sequences in `slots` slots.

    Attributes:
        vocab_size: logits per token.
        context_len: most tokens of a sequence.
        slots: most sequences at a time.
        max_tokens: most tokens of one forward pass.
        truncatable: whether every layer keeps all positions. Otherwise, with a recurrent layer or a window, a sequence can only go
            back to its mark, and only all of it can be saved.
    """

    vocab_size: int
    context_len: int
    slots: int
    max_tokens: int
    truncatable: bool

    @abstractmethod
    def forward(self, batch: ForwardBatch) -> Logits:
        """Append the tokens to their sequences; logits [m, vocab_size] of the tokens after the wanted ones.

        The result is valid until the next call. Sequences do not influence each other, whatever is in the batch.
        """

    @abstractmethod
    def length(self, slot: int) -> int:
        """The tokens in `slot`."""

    @abstractmethod
    def reset(self, slot: int) -> None:
        """Make `slot` an empty sequence."""

    @abstractmethod
    def copy(self, source: int, target: int) -> None:
        """Make `target` the same sequence as `source`."""

    @abstractmethod
    def truncate(self, slot: int, length: int) -> None:
        """Forget the tokens of `slot` from position `length` on.

        Raises:
            ValueError: the sequence is shorter, or the backend is not `truncatable`.
        """

    @abstractmethod
    def mark(self, slot: int) -> None:
        """Remember what `slot` holds now, until the next mark. Cheap: drafted tokens are taken back with it."""

    @abstractmethod
    def rewind(self, slot: int) -> None:
        """Make `slot` the sequence that it was at its mark, with at most `max_tokens` tokens fewer."""

    @abstractmethod
    def save(self, slot: int, start: int, stop: int) -> StateBlock:
        """A copy of what `slot` holds of the positions from `start` to `stop`.

        Raises:
            ValueError: it does not hold them, or the backend is not `truncatable` and `stop` is not the end of the sequence.
        """

    @abstractmethod
    def restore(self, slot: int, blocks: Sequence[StateBlock]) -> None:
        """Make `slot` the sequence whose consecutive `blocks` from position 0 on were saved."""

    @abstractmethod
    def state_bytes(self, length: int) -> int:
        """Bytes of the state of a sequence of `length` tokens."""
