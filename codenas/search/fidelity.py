"""Fidelity of a low rung: the rank correlation of its scores with those of a higher one, plain and controlled for size.

Larger models score better at every rung, and their size is known before training. The correlation controlled for size measures what
a rung adds to that: it is computed on what the parameters of the layers do not explain of either score.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from codenas.arch.cost import body_parameters
from codenas.search.candidate import Trial
from codenas.stats.rank_correlation import spearman, spearman_given_size


class Fidelity(BaseModel):
    """Spearman's correlations of bits per byte at `low` and `high` over the `trials` that reached both, with their 95 % intervals.

    Attributes:
        spearman: None if it is not defined, as below three trials.
        given_size: the same of the residuals of both against a quadratic in the logarithm of the parameters of the layers. None
            if it is not defined, as below five trials, and in results of earlier versions, as are both intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int
    high: int
    trials: int
    spearman: float | None
    interval: tuple[float, float] | None = None
    given_size: float | None = None
    given_size_interval: tuple[float, float] | None = None


def fidelities(trials: Sequence[Trial], rungs: Sequence[int]) -> tuple[Fidelity, ...]:
    """The fidelity of every rung but the last."""
    return tuple(fidelity(trials, low, rungs[-1]) for low in rungs[:-1])


def fidelity(trials: Sequence[Trial], low: int, high: int) -> Fidelity:
    """The fidelity of rung `low`. Only promoted trials reach `high`: the restricted range lowers correlations."""
    reached = [
        (a.metrics.bits_per_byte, b.metrics.bits_per_byte, float(body_parameters(trial.candidate.design.stored_arch)))
        for trial in trials
        if (a := trial.report(low)) and (b := trial.report(high))
        if a.metrics.bits_per_byte is not None and b.metrics.bits_per_byte is not None
    ]
    lows, highs, sizes = ([row[column] for row in reached] for column in range(3))
    plain, given_size = spearman(lows, highs), spearman_given_size(lows, highs, sizes)
    return Fidelity(
        low=low,
        high=high,
        trials=len(reached),
        spearman=plain.rho,
        interval=plain.interval,
        given_size=given_size.rho,
        given_size_interval=given_size.interval,
    )
