"""Importance of the fields of a search space: the share of the score's variance that each explains, with a permutation test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Numbers = npt.NDArray[np.floating[Any]]

PERMUTATIONS = 500
MIN_CANDIDATES = 6  # with fewer, the shares mean nothing


class Importance(BaseModel):
    """How much of the variance of the score a field explains by itself.

    Attributes:
        levels: distinct choices among the candidates.
        share: eta squared of a one-way analysis of variance, adjusted for the levels (epsilon squared, Kelley 1935): 0 on average
            for a field without influence, so it may be negative; 1 for a field that determines the score.
        chance: the 95 % quantile of the share under random permutations of the scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    levels: int
    share: float
    chance: float


def importances(rows: Sequence[Mapping[str, str]], scores: Sequence[float], seed: int = 0) -> tuple[Importance, ...]:
    """The importance of every field that varies over `rows` (the choices of each candidate), the most important first.

    Empty for fewer than `MIN_CANDIDATES`; a field with as many levels as candidates is left out.
    """
    if len(scores) < MIN_CANDIDATES or min(scores) == max(scores):
        return ()
    rng, values = np.random.default_rng(seed), np.array(scores, dtype=np.float64)
    shuffled = np.stack([values, *(rng.permutation(values) for _ in range(PERMUTATIONS))])
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
    """The expected minimum of `draws` of `scores` drawn without replacement, in closed form."""
    remaining, chance, mean = len(scores), draws / len(scores), 0.0
    for score in sorted(scores):  # `chance`: that this score is drawn and no lower one
        mean += score * chance
        remaining -= 1
        chance *= (remaining + 1 - draws) / remaining if remaining else 0.0
    return mean
