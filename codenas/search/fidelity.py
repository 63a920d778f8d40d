"""How far a low rung can be trusted: the rank correlation of its scores with those of a higher one."""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from codenas.search.candidate import Trial


class Fidelity(BaseModel):
    """Spearman's correlation of bits per byte at `low` and `high` over the `trials` that reached both; None below three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int
    high: int
    trials: int
    spearman: float | None


def fidelity(trials: Sequence[Trial], low: int, high: int) -> Fidelity:
    """The fidelity of rung `low`. Only promoted trials reach `high`: the range is cut, which lowers the figure."""
    pairs = [
        (a.metrics.bits_per_byte, b.metrics.bits_per_byte)
        for trial in trials
        if (a := trial.report(low)) and (b := trial.report(high))
        if a.metrics.bits_per_byte is not None and b.metrics.bits_per_byte is not None
    ]
    rho = spearman([pair[0] for pair in pairs], [pair[1] for pair in pairs]) if len(pairs) >= 3 else None
    return Fidelity(low=low, high=high, trials=len(pairs), spearman=rho)


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation with averaged ties; None where one side is constant."""
    x, y = _ranks(a), _ranks(b)
    mean = (len(x) + 1) / 2
    covariance = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    spread = math.sqrt(sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y))
    return covariance / spread if spread else None


def interval(rho: float | None, trials: int) -> tuple[float, float] | None:
    """Where the correlation lies in 95 of 100 cases, by Fisher's transformation with the error of Fieller et al. (1957).

    None below four trials, and where all of them agree: of that the transformation knows no error.
    """
    if rho is None or trials < 4 or abs(rho) >= 1:
        return None
    middle, error = math.atanh(rho), 1.96 * math.sqrt(1.06 / (trials - 3))
    return math.tanh(middle - error), math.tanh(middle + error)


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [(ordered.index(value) + 1 + len(ordered) - ordered[::-1].index(value)) / 2 for value in values]
