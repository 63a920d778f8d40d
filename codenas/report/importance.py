"""Which choices the score follows: shares of its variance, field by field, beside what chance alone would show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Numbers = npt.NDArray[np.floating[Any]]

SHUFFLES = 500
LEAST_CANDIDATES = 6  # of fewer a share says nothing


class Importance(BaseModel):
    """How much of the variance of the score a field explains by itself.

    Attributes:
        levels: different choices among the candidates.
        share: eta squared of a one-way analysis of variance, adjusted for the levels (epsilon squared, Kelley 1935): 0 on average
            for a field without influence, so that it may be negative; 1 for one that decides everything.
        chance: what 95 % of random shuffles of the scores stay below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    levels: int
    share: float
    chance: float


def importances(rows: Sequence[Mapping[str, str]], scores: Sequence[float], seed: int = 0) -> tuple[Importance, ...]:
    """Of every field that differs among `rows`, one row of choices a candidate; the most important first.

    A field that has a choice of its own for nearly everybody is left out, and so is everything of very few candidates.
    """
    if len(scores) < LEAST_CANDIDATES or min(scores) == max(scores):
        return ()
    rng, values = np.random.default_rng(seed), np.array(scores, dtype=np.float64)
    shuffled = np.stack([values, *(rng.permutation(values) for _ in range(SHUFFLES))])
    found = []
    for field in rows[0]:
        levels = sorted({row[field] for row in rows})
        if 2 <= len(levels) < len(scores):
            shares = _shares(shuffled, np.array([[row[field] == level for level in levels] for row in rows], dtype=np.float64))
            chance = float(np.quantile(shares[1:], 0.95))
            found.append(Importance(field=field, levels=len(levels), share=float(shares[0]), chance=chance))
    return tuple(sorted(found, key=lambda each: (-each.share, each.field)))


def _shares(scores: Numbers, levels: Numbers) -> Numbers:
    """Adjusted eta squared, [n], of `scores`, [n, candidates], under `levels`, [candidates, k], one-hot."""
    count, k = levels.shape
    centred = scores - scores.mean(axis=1, keepdims=True)
    between = ((centred @ levels) ** 2 / levels.sum(axis=0)).sum(axis=1)
    unexplained = 1 - between / (centred**2).sum(axis=1)
    result: Numbers = 1 - unexplained * (count - 1) / (count - k)
    return result


def expected_best(scores: Sequence[float], draws: int) -> float:
    """The mean of the lowest of `draws` of `scores` over all ways to draw them without putting back: exact, nothing is drawn."""
    left, chance, mean = len(scores), draws / len(scores), 0.0
    for score in sorted(scores):  # `chance`: that this one is drawn, and none of those before it
        mean += score * chance
        left -= 1
        chance *= (left + 1 - draws) / left if left else 0.0
    return mean
