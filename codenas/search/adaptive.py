"""Adaptive promotion: which candidate is promoted next, and whether another promotion is still worth its steps.

A fixed number of promotions is too many where a low rung ranks well and too few where it does not. Here the scores at the high rung
are forecast from what is known below it, the score and the capacity (parameters of the layers: they predict quality, and a short
training hides it), by a linear model whose slopes and noise this run's own promotions teach. A low correlation leaves forecasts
wide, so that another candidate is still likely to beat the best, and promotion continues up to its bound; a high one makes
them narrow, and it stops.

The answer is a function of the reports alone: the k-th promotion uses the reports of all earlier promotions but the last
`PENDING_PROMOTIONS`, in this order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from codenas.stats.pareto import Point, scaled

Numbers = npt.NDArray[np.floating[Any]]

PENDING_PROMOTIONS = 1  # promotions that a decision does not wait for: two workers are busy
MIN_IMPROVEMENT_PROBABILITY = 0.5  # that any other candidate is better than the best: below it promotion stops

_SLOPES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
_MAX_EXPLAINED_VARIANCE = 0.97  # of the variance at the high rung: no forecast is exact
_SPREADS = np.exp2(np.arange(-2.0, 4.0))  # of scores at the high rung, in deviations at the low one
_MIN_PRIOR_WEIGHT = 0.1  # weight of a model that explains nothing, against 1.1 for one that explains all

_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(slots=True, frozen=True)
class Screened:
    """What is known of the contenders of a promotion, one number for each of them.

    Attributes:
        low: the score at the low rung; less is better.
        capacity: what promises quality where there is much of it; only its order counts.
        known: what the objectives that training does not change add to any score, in its units.
    """

    low: Sequence[float]
    capacity: Sequence[float]
    known: Sequence[float]


def known_part(points: Sequence[Point], weights: Sequence[float], learned: int) -> list[float]:
    """What the costs but `learned` add to the weighted fitness of each of `points`, in units of that one.

    Only `learned` is uncertain, so that only it is forecast: the forecast of a fitness would take what is exact for noise. Costs are
    scaled over `points`, all candidates at the low rung, since at the high one the scale would change with each promotion.
    """
    values = [point[learned] for point in points if math.isfinite(point[learned])]
    unit = (max(values, default=0.0) - min(values, default=0.0)) / weights[learned]
    others = [i for i in range(len(weights)) if i != learned]
    return [unit * sum(weights[i] * place[i] for i in others) for place in scaled(points)]


@dataclass(slots=True, frozen=True)
class Promotion:
    """Contenders by number, in the order of promotion. `closed` says that no other will follow, whatever is reported later."""

    chosen: tuple[int, ...]
    closed: bool


def promotion(screened: Screened, order: Sequence[int], least: int, most: int, high: Callable[[int], float | None]) -> Promotion:
    """The promoted: the first `least` of `order`, then the likeliest to beat the best, as long as that is likely enough.

    Args:
        order: the contenders, best at the low rung first.
        high: the score of a contender at the high rung: infinite if it failed on the way, None while it is not known.
    """
    chosen = list(order[:least])
    if len(chosen) == len(order):
        return Promotion(tuple(chosen), closed=True)
    forecast = Forecast.prior(screened)
    while len(chosen) < min(most, len(order)):
        reached = {i: high(i) for i in chosen[: max(1, len(chosen) - PENDING_PROMOTIONS)]}
        scores = {i: score for i, score in reached.items() if score is not None}
        if len(scores) < len(reached):
            return Promotion(tuple(chosen), closed=False)
        left = [i for i in order if i not in chosen]
        scores = {i: score for i, score in scores.items() if math.isfinite(score)}
        chances, chance = forecast.chances(scores, left) if scores else (np.zeros(len(left)), 1.0)
        if chance < MIN_IMPROVEMENT_PROBABILITY:
            break
        chosen.append(left[int(chances.argmax())])  # the first of equals: `left` is in the order of the rung
    return Promotion(tuple(chosen), closed=True)


@dataclass(slots=True, frozen=True)
class Forecast:
    """Linear models of the score at the high rung, each with normal noise, before any candidate has reached it.

    Attributes:
        screened: of whom.
        trends: of each model, [models, contenders], in deviations at the high rung; the mean of all is unknown.
        noise: what each leaves unexplained, [models], in the same unit. `weight` is its prior probability.
        spreads: deviations at the high rung that are thought possible, in units of the score.
    """

    screened: Screened
    trends: Numbers
    noise: Numbers
    weight: Numbers
    spreads: Numbers

    @classmethod
    def prior(cls, screened: Screened) -> "Forecast":
        """Every pair of slopes, of low score and of capacity; the more a model explains, the likelier it is held."""
        low, small = _normal_scores(screened.low), _normal_scores([-capacity for capacity in screened.capacity])
        trends = np.array([by_score * low + by_size * small for by_score in _SLOPES for by_size in _SLOPES])
        explained = trends.var(axis=1)
        kept = explained <= _MAX_EXPLAINED_VARIANCE
        spreads = (float(np.std(screened.low)) or 1.0) * _SPREADS
        return cls(screened, trends[kept], np.sqrt(1 - explained[kept]), _MIN_PRIOR_WEIGHT + explained[kept], spreads)

    def chances(self, scores: dict[int, float], left: Sequence[int]) -> tuple[Numbers, float]:
        """The chance of each contender in `left` to beat the best of `scores` (one or more), and that any of them does."""
        observed, known = list(scores), np.array(self.screened.known)
        reached = np.array(list(scores.values()))
        sd = self.noise[:, None] * self.spreads
        trend = self.trends[:, None, :] * self.spreads[:, None]
        surprise = reached - trend[:, :, observed]
        mean = surprise.mean(axis=2)
        squares = ((surprise - mean[:, :, None]) ** 2).sum(axis=2)
        fit = np.log(self.weight)[:, None] - (len(observed) - 1) * np.log(sd) - squares / (2 * sd**2)
        weight = np.exp(fit - fit.max())
        weight /= weight.sum()
        needed = (reached + known[observed]).min() - known[list(left)]  # what each would have to score
        wide = sd * math.sqrt(1 + 1 / len(observed))
        better = _normal_cdf((needed - mean[:, :, None] - trend[:, :, left]) / wide[:, :, None])
        anybody = 1 - np.prod(1 - better, axis=2)
        return np.tensordot(weight, better, axes=2), float((weight * anybody).sum())


def _normal_cdf(z: Numbers) -> Numbers:
    """The probability of less than `z` under the standard normal distribution."""
    result: Numbers = (1 + _erf(z / math.sqrt(2))) / 2
    return result


def _normal_scores(values: Sequence[float]) -> Numbers:
    """The ranks of `values` as quantiles of the standard normal distribution (Blom 1958); equal values share one."""
    array = np.array(values, dtype=np.float64)
    ranks = ((array[:, None] > array).sum(axis=1) + (array[:, None] >= array).sum(axis=1) + 1) / 2
    return np.array([NormalDist().inv_cdf((rank - 0.375) / (len(array) + 0.25)) for rank in ranks])
