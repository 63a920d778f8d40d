"""Adaptive promotion: which candidate is promoted next, and whether another promotion is still worth its steps.

A fixed number of promotions is too many where a low rung ranks well and too few where it does not. Here the scores at the high rung
are forecast from the score at the low rung and the capacity (parameters of the layers: they predict quality, and a short training
hides it), by a linear model whose slopes and noise are fitted to this run's own promotions. A low correlation leaves forecasts
wide, so that another candidate is still likely to beat the best, and promotion continues up to its bound; a high one makes
them narrow, and it stops.

The answer is a function of the reports alone: the k-th promotion uses the reports of all earlier promotions but the last
`PENDING_PROMOTIONS`, in this order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codenas.stats.pareto import Point, scaled

Numbers = npt.NDArray[np.floating[Any]]

PENDING_PROMOTIONS = 1  # promotions that a decision does not wait for: two workers are busy
MIN_IMPROVEMENT_PROBABILITY = 0.5  # that any other candidate is better than the best: below it promotion stops

_SLOPES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
_MAX_EXPLAINED_VARIANCE = 0.97  # of the variance at the high rung: no forecast is exact
_SCALES = np.exp2(np.arange(-2.0, 4.0))  # standard deviations at the high rung, in those at the low one
_MIN_PRIOR_WEIGHT = 0.1  # weight of a model that explains nothing, against 1.1 for one that explains all


@dataclass(slots=True, frozen=True)
class Contenders:
    """The candidates among whom a promotion chooses: one number for each of them.

    Attributes:
        low_rung_scores: lower is better.
        capacities: higher predicts better quality; only their order counts.
        static_costs: what the objectives that training does not change add to a score, in its units.
    """

    low_rung_scores: Sequence[float]
    capacities: Sequence[float]
    static_costs: Sequence[float]


def static_costs(points: Sequence[Point], weights: Sequence[float], trained: int) -> list[float]:
    """What the costs other than cost `trained` add to the weighted fitness of each of `points`, in units of that cost.

    Only `trained` is uncertain, so only it is forecast: a forecast of the whole fitness would treat exact costs as noise. Costs are
    scaled over `points`, all candidates at the low rung, since at the high one the scale would change with each promotion.
    """
    values = [point[trained] for point in points if math.isfinite(point[trained])]
    unit = (max(values, default=0.0) - min(values, default=0.0)) / weights[trained]
    others = [i for i in range(len(weights)) if i != trained]
    return [unit * sum(weights[i] * coordinates[i] for i in others) for coordinates in scaled(points)]


@dataclass(slots=True, frozen=True)
class Promotions:
    """Indices of contenders, in the order of promotion. If `complete`, no other will follow, whatever is reported later."""

    chosen: tuple[int, ...]
    complete: bool


def choose_promotions(
    contenders: Contenders,
    order: Sequence[int],
    min_promoted: int,
    max_promoted: int,
    high_rung_score: Callable[[int], float | None],
) -> Promotions:
    """The first `min_promoted` of `order`, then those most likely to beat the best, as long as that is likely enough.

    Args:
        order: the contenders, best at the low rung first.
        high_rung_score: of a contender: infinite if it failed on the way, None while it is not known.
    """
    chosen = list(order[:min_promoted])
    if len(chosen) == len(order):
        return Promotions(tuple(chosen), complete=True)
    forecast = Forecast.of(contenders)
    while len(chosen) < min(max_promoted, len(order)):
        reported = {i: high_rung_score(i) for i in chosen[: max(1, len(chosen) - PENDING_PROMOTIONS)]}
        scores = {i: score for i, score in reported.items() if score is not None}
        if len(scores) < len(reported):
            return Promotions(tuple(chosen), complete=False)
        remaining = [i for i in order if i not in chosen]
        scores = {i: score for i, score in scores.items() if math.isfinite(score)}
        each, any_better = forecast.improvement_probabilities(scores, remaining) if scores else (np.zeros(len(remaining)), 1.0)
        if any_better < MIN_IMPROVEMENT_PROBABILITY:
            break
        chosen.append(remaining[int(each.argmax())])  # the first of equals: `remaining` is in the order of the rung
    return Promotions(tuple(chosen), complete=True)


@dataclass(slots=True, frozen=True)
class Forecast:
    """A mixture of linear models of the score at the high rung with normal noise, before any score there is known.

    Attributes:
        means: the mean of each contender under each model, [models, contenders], in standard deviations; their offset is unknown.
        noise: the standard deviation that each model leaves unexplained, [models], in the same unit.
        prior: the weight of each model, [models].
        scales: the standard deviations at the high rung that are considered, in units of the score.
    """

    contenders: Contenders
    means: Numbers
    noise: Numbers
    prior: Numbers
    scales: Numbers

    @classmethod
    def of(cls, contenders: Contenders) -> "Forecast":
        """Every pair of slopes, of low-rung score and of capacity; the more a model explains, the higher its prior weight."""
        scores, sizes = _normal_scores(contenders.low_rung_scores), _normal_scores([-capacity for capacity in contenders.capacities])
        means = np.array([by_score * scores + by_size * sizes for by_score in _SLOPES for by_size in _SLOPES])
        explained = means.var(axis=1)
        kept = explained <= _MAX_EXPLAINED_VARIANCE
        scales = (float(np.std(contenders.low_rung_scores)) or 1.0) * _SCALES
        return cls(contenders, means[kept], np.sqrt(1 - explained[kept]), _MIN_PRIOR_WEIGHT + explained[kept], scales)

    def improvement_probabilities(self, scores: dict[int, float], remaining: Sequence[int]) -> tuple[Numbers, float]:
        """The probability of each of the `remaining` to beat the best of `scores` (one or more), and that any of them does."""
        from scipy.special import ndtr  # takes a while to import, and few commands forecast

        observed, static = list(scores), np.array(self.contenders.static_costs)
        reported = np.array(list(scores.values()))
        noise = self.noise[:, None] * self.scales  # [models, scales]
        means = self.means[:, None, :] * self.scales[:, None]  # [models, scales, contenders]
        residuals = reported - means[:, :, observed]
        offset = residuals.mean(axis=2)
        squares = ((residuals - offset[:, :, None]) ** 2).sum(axis=2)
        log_posterior = np.log(self.prior)[:, None] - (len(observed) - 1) * np.log(noise) - squares / (2 * noise**2)
        posterior = np.exp(log_posterior - log_posterior.max())
        posterior /= posterior.sum()
        thresholds = (reported + static[observed]).min() - static[list(remaining)]  # below which each beats the best
        deviation = noise * math.sqrt(1 + 1 / len(observed))  # of a prediction: the offset is estimated
        better = ndtr((thresholds - offset[:, :, None] - means[:, :, remaining]) / deviation[:, :, None])
        any_better = 1 - np.prod(1 - better, axis=2)
        return np.tensordot(posterior, better, axes=2), float((posterior * any_better).sum())


def _normal_scores(values: Sequence[float]) -> Numbers:
    """The ranks of `values` as quantiles of the standard normal distribution (Blom 1958); equal values share one."""
    from scipy.special import ndtri

    array = np.array(values, dtype=np.float64)
    ranks = ((array[:, None] > array).sum(axis=1) + (array[:, None] >= array).sum(axis=1) + 1) / 2
    scores: Numbers = ndtri((ranks - 0.375) / (len(array) + 0.25))
    return scores
