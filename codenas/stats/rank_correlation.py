"""Spearman's rank correlation, plain and controlled for size, each with its 95 % interval.

`scipy.stats` takes a second to import and is imported on first use: most commands never need it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_MIN_PAIRS = 3
_FIELLER = 1.06  # variance of Fisher's z of a rank correlation, times (n - 3) (Fieller, Hartley and Pearson 1957)
_EXPLAINED = 1e-9  # residuals below this share of the standard deviation are rounding errors, with meaningless ranks


@dataclass(slots=True, frozen=True)
class RankCorrelation:
    """A rank correlation over `pairs`; None where it is not defined, and so is its 95 % `interval`."""

    pairs: int
    rho: float | None = None
    interval: tuple[float, float] | None = None


def spearman(a: Sequence[float], b: Sequence[float]) -> RankCorrelation:
    """Spearman's correlation with averaged ties; not defined below three pairs, and where one side is constant."""
    rho = _rho(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return RankCorrelation(len(a), rho, fisher_interval(rho, len(a)))


def spearman_given_size(a: Sequence[float], b: Sequence[float], sizes: Sequence[float]) -> RankCorrelation:
    """Spearman's correlation of what `sizes` (above zero) do not explain of `a` and `b`.

    Both are replaced by their residuals against a quadratic in the logarithm of the size, by least squares. Not defined below
    five pairs or three sizes, and where size explains all of the variance.
    """
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    if len(logs) < _MIN_PAIRS + 2 or len(np.unique(logs)) < 3:
        return RankCorrelation(len(logs))
    rho = _rho(_residuals(np.asarray(a, dtype=np.float64), logs), _residuals(np.asarray(b, dtype=np.float64), logs))
    return RankCorrelation(len(logs), rho, fisher_interval(rho, len(logs), covariates=2))


def fisher_interval(rho: float | None, pairs: int, covariates: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of a rank correlation by Fisher's z-transformation, with the variance of Fieller et al. (1957).

    Each of the `covariates` controlled for costs one degree of freedom, as in a partial correlation. None below four degrees
    of freedom, and for a correlation of 1 or -1, where the transformation is infinite.
    """
    freedom = pairs - 3 - covariates
    if rho is None or freedom < 1 or abs(rho) >= 1:
        return None
    middle, error = math.atanh(rho), 1.96 * math.sqrt(_FIELLER / freedom)
    return math.tanh(middle - error), math.tanh(middle + error)


def _rho(a: Vector, b: Vector) -> float | None:
    from scipy import stats

    if len(a) < _MIN_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)


def _residuals(values: Vector, logs: Vector) -> Vector:
    """The residuals of a quadratic fit in `logs`; zeros where they are rounding errors."""
    centred = logs - logs.mean()
    design = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    residuals: Vector = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return residuals if np.std(residuals) > _EXPLAINED * np.std(values) else np.zeros_like(values)
