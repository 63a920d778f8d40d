"""Training windows in an order that is a function of seed and position: there is no state to store, and resuming is exact."""

import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from codenas.corpus.shards import Ids, Tokens
from codenas.errors import CorpusError
from codenas.seeds import derive, stream

Rewrite = Callable[[Ids, random.Random], Ids]


class Batches:
    """An endless sequence of windows of `context_len` + 1 tokens at stride `context_len`, reshuffled in every epoch.

    Documents are packed as in GPT-2: concatenated with an end-of-text token between them and cut without regard to their
    boundaries. A window may begin and end inside a document and contain several; attention crosses their boundaries. There is no
    padding. In an epoch every token of the windows is a target once, except the first of the split.

    Args:
        tokens: one split.
        context_len: the context length of the model, in tokens.
        seed: of the order, and of the generators passed to `rewrite`.
        rewrite: a transformation of each window that keeps its length; it gets a random generator per window and epoch.

    Raises:
        CorpusError: the split has not even one window.
    """

    def __init__(self, tokens: Tokens, context_len: int, seed: int, rewrite: Rewrite | None = None) -> None:
        if context_len < 1:
            raise ValueError(f"context_len is {context_len} and must be at least 1")
        self.windows = count_windows(len(tokens), context_len)
        self._tokens, self._context_len, self._seed, self._rewrite = tokens, context_len, seed, rewrite
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    def at(self, cursor: int, count: int) -> tuple[Ids, Ids]:
        """Windows cursor .. cursor + count - 1 of the sequence as inputs and targets, each of shape [count, context_len]."""
        if cursor < 0 or count < 1:
            raise ValueError(f"cursor {cursor} must be at least 0 and count {count} at least 1")
        rows = np.empty((count, self._context_len + 1), dtype=np.int64)
        for row in range(count):
            rows[row] = self._window(cursor + row)
        return rows[:, :-1], rows[:, 1:]

    def _window(self, number: int) -> Ids:
        epoch, position = divmod(number, self.windows)
        start = int(self._order(epoch)[position]) * self._context_len
        window = self._tokens.read(start, start + self._context_len + 1)
        return window if self._rewrite is None else self._rewrite(window, stream(self._seed, "window", number))

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The permutation of the windows in `epoch`; the last two are kept, as a batch may span both."""
        if epoch not in self._orders:
            self._orders = {kept: order for kept, order in self._orders.items() if kept == epoch - 1}
            self._orders[epoch] = _permutation(derive(self._seed, "epoch", epoch), self.windows)
        return self._orders[epoch]


def count_windows(tokens: int, context_len: int, split: str = "train") -> int:
    """Whole windows in a split of so many tokens.

    Raises:
        CorpusError: there is not even one.
    """
    windows = max(0, (tokens - 1) // context_len)
    if windows == 0:
        raise CorpusError(
            f"corpus too small for the context: {tokens} tokens in split {split!r}, and one window needs context_len + 1 = "
            f"{context_len + 1}; prepare more source or use a context of at most {max(tokens - 1, 0)}"
        )
    return windows


def _permutation(seed: int, length: int) -> npt.NDArray[np.int64]:
    """Sort the positions by their SplitMix64 hash. numpy may change its own shuffles between versions; this one stays."""
    with np.errstate(over="ignore"):
        mixed = np.arange(length, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")
