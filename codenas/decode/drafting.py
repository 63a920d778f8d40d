"""Drafting from a sequence's own text ("prompt lookup"): code repeats itself, so what followed the last tokens before may follow again.

A forward pass over a few more tokens costs little more than one over one token. The drafted tokens are verified exactly: each is
kept only if it is the token that is sampled at its place. How many to draft follows from measured acceptance and cost.
"""

from collections.abc import Sequence

import numpy as np

MATCH_TOKENS = 3  # that must have occurred before
MEMORY = 0.9  # what an acceptance weighs after the next one
COST_MEMORY = 0.99  # what a measured time weighs after the next one
PRIOR_ACCEPTED, PRIOR_TRIED = 1.0, 1.5  # before any measurement
FORGOTTEN = 0.99  # per token without a draft: a sequence whose drafts failed gets another chance
COUNTED_TOKENS = 64  # a larger forward pass says little about the cost of a few tokens
PRIOR_SLOPE = 0.05  # of the time of one token, that a further one costs

_WIDTH = 4  # bytes of a token


class NgramDrafter:
    """Proposes the tokens that followed the latest occurrence of the last `MATCH_TOKENS` tokens, as often as that pays."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._data = bytearray(np.array(tokens, dtype=np.int32).tobytes())
        self._accepted, self._tried = PRIOR_ACCEPTED, PRIOR_TRIED

    @property
    def acceptance(self) -> float:
        """Estimated probability that the next drafted token is sampled."""
        return self._accepted / self._tried

    def append(self, tokens: Sequence[int]) -> None:
        """The sequence has grown."""
        for token in tokens:
            self._data += token.to_bytes(_WIDTH, "little")

    def propose(self, count: int) -> list[int]:
        """The `count` tokens that followed before, repeated if they are fewer; none if the last tokens are new."""
        start = self._find() if count > 0 else -1
        if start < 0:
            return []
        followed = bytes(self._data[start : start + _WIDTH * count])
        repeated = followed * -(-_WIDTH * count // len(followed))
        found: list[int] = np.frombuffer(repeated, dtype=np.int32)[:count].tolist()
        return found

    def _find(self) -> int:
        """The byte behind the latest earlier occurrence of the last tokens; -1 without one."""
        size, end = _WIDTH * MATCH_TOKENS, len(self._data)
        pattern = bytes(self._data[-size:])
        while (found := self._data.rfind(pattern, 0, end - 1)) >= 0:
            if found % _WIDTH == 0:
                return found + len(pattern)
            end = found + len(pattern)  # it is between two tokens: look further back
        return -1

    def record(self, drafted: int, accepted: int) -> None:
        """Of `drafted` tokens the first `accepted` were sampled."""
        self._accepted = MEMORY * self._accepted + accepted
        self._tried = MEMORY * self._tried + accepted + (accepted < drafted)

    def skip(self) -> None:
        """No draft was worth its cost: what was measured weighs less from now on."""
        self._accepted = FORGOTTEN * self._accepted + (1 - FORGOTTEN) * PRIOR_ACCEPTED
        self._tried = FORGOTTEN * self._tried + (1 - FORGOTTEN) * PRIOR_TRIED


class ForwardCost:
    """The time of a forward pass as a linear function of its tokens, fitted to recent ones."""

    def __init__(self) -> None:
        self._weight = self._tokens = self._squares = self._seconds = self._products = 0.0

    def record(self, tokens: int, seconds: float) -> None:
        """A forward pass over `tokens` tokens took `seconds`."""
        if tokens > COUNTED_TOKENS:
            return
        self._weight = COST_MEMORY * self._weight + 1
        self._tokens = COST_MEMORY * self._tokens + tokens
        self._squares = COST_MEMORY * self._squares + tokens * tokens
        self._seconds = COST_MEMORY * self._seconds + seconds
        self._products = COST_MEMORY * self._products + tokens * seconds

    def relative_slope(self) -> float:
        """What a further token costs, as a share of a pass over no tokens; `PRIOR_SLOPE` as far as nothing was measured."""
        if not self._weight or self._seconds <= 0:
            return PRIOR_SLOPE
        mean, seconds = self._tokens / self._weight, self._seconds / self._weight
        variance = self._squares / self._weight - mean * mean
        covariance = self._products / self._weight - mean * seconds
        slope = (covariance + PRIOR_SLOPE * seconds) / (variance + 1)  # as if the prior had been measured with a variance of one
        slope = max(slope, 0.0)
        return slope / max(seconds - slope * mean, 0.1 * seconds)


def best_draft(acceptance: float, slope: float, sequences: int, most: int, recomputed: bool) -> int:
    """How many tokens to draft for one of `sequences` sequences that are decoded together: those with most tokens per second.

    Args:
        acceptance: the probability that a drafted token is sampled, if those before were.
        slope: see `ForwardCost.relative_slope`.
        most: the largest number.
        recomputed: accepted tokens must go through another forward pass when a later one is rejected.
    """
    best, best_rate = 0, sequences / (1 + slope * sequences)
    expected, survives = 1.0, 1.0
    for drafted in range(1, most + 1):
        survives *= acceptance
        expected += survives
        again = (1 - survives) * expected if recomputed else 0.0
        rate = (sequences - 1 + expected) / (1 + slope * (sequences + drafted + again))
        if rate > best_rate:
            best, best_rate = drafted, rate
    return best
