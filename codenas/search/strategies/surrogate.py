"""A surrogate of the score after training, for a few dozen observations: a Gaussian process (Rasmussen and Williams 2006).

A linear kernel over the static metrics models the trend (more parameters, better scores), and a squared exponential kernel over
static metrics and choices the deviations from it. Hyperparameters maximise the marginal likelihood over a small grid.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codenas.search.strategies.base import P, Space

Numbers = npt.NDArray[np.floating[Any]]

_TREND = 4.0  # prior variance of the linear kernel, in variances of the observations
_LENGTH_SCALES, _VARIANCES, _NOISES = (0.5, 1.0, 2.0), (0.05, 0.3, 1.0), (0.003, 0.03, 0.2)


@dataclass(slots=True, frozen=True)
class Features:
    """Encoded points: `figures` [points, f] are the static metrics, `choices` [points, c] the choices."""

    figures: Numbers
    choices: Numbers

    def at(self, rows: Sequence[int]) -> "Features":
        """The rows `rows`."""
        return Features(self.figures[list(rows)], self.choices[list(rows)])


def features(space: Space[P], points: Sequence[P]) -> Features:
    """Encode `points`: static metrics as standardised logarithms, numeric choices by rank, others one-hot."""
    figures = np.array([list(space.static(point).values()) for point in points], dtype=np.float64).reshape(len(points), -1)
    positive = (figures > 0).all(axis=0)
    figures = np.where(positive, np.log(np.where(positive, figures, 1.0)), figures)
    deviation = figures.std(axis=0)
    figures = (figures - figures.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    codes = {name: {value: _code(values, value) for value in values} for name, values in space.choices.items() if len(values) > 1}
    coded = np.array([_coded(codes, space.choices, space.flatten(point)) for point in points]).reshape(len(points), -1)
    return Features(figures, coded / math.sqrt(max(1, len(space.choices))))


def _coded(codes: Mapping[str, Mapping[Any, list[float]]], choices: Mapping[str, tuple[Any, ...]], point: Mapping[str, Any]) -> list[float]:
    """The encoded choices of `point`; an inactive field may have a value outside its choices."""
    code: list[float] = []
    for name, known in codes.items():
        code += known[point[name]] if point[name] in known else _code(choices[name], point[name])
    return code


def _code(values: tuple[Any, ...], chosen: Any) -> list[float]:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [2 * sum(value < chosen for value in values) / (len(values) - 1)]
    return [float(value == chosen) for value in values]


@dataclass(slots=True, frozen=True)
class Surrogate:
    """A fitted Gaussian process; see `fit`."""

    observed: Features
    mean: float
    deviation: float
    hyperparameters: tuple[float, float, float]
    weights: Numbers
    inverse: Numbers

    @classmethod
    def fit(cls, observed: Features, values: Sequence[float]) -> "Surrogate":
        """Fit to the `values` at the points `observed`, one or more."""
        y = np.array(values, dtype=np.float64)
        mean, deviation = float(y.mean()), float(y.std()) or 1.0
        y = (y - mean) / deviation
        best: tuple[float, tuple[float, float, float], Numbers] | None = None
        for hyperparameters in itertools.product(_LENGTH_SCALES, _VARIANCES, _NOISES):
            cholesky = np.linalg.cholesky(_covariance(observed, observed, hyperparameters) + hyperparameters[2] * np.eye(len(y)))
            whitened = np.linalg.solve(cholesky, y)
            likelihood = -float(whitened @ whitened) / 2 - float(np.log(np.diag(cholesky)).sum())
            if best is None or likelihood > best[0]:
                best = likelihood, hyperparameters, cholesky
        assert best is not None
        inverse = np.linalg.inv(best[2])
        return cls(observed, mean, deviation, best[1], inverse.T @ (inverse @ y), inverse)

    def predict(self, points: Features) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of the value of each of `points`."""
        cross = _covariance(points, self.observed, self.hyperparameters)
        own = _TREND * (1 + _inner(points.figures, points.figures).diagonal()) + self.hyperparameters[1]
        variance = own - ((self.inverse @ cross.T) ** 2).sum(axis=0)
        sd = np.sqrt(np.maximum(variance, 1e-9))
        return self.mean + self.deviation * (cross @ self.weights), self.deviation * sd


def _covariance(a: Features, b: Features, hyperparameters: tuple[float, float, float]) -> Numbers:
    length_scale, variance, _ = hyperparameters
    distance = _squared(a.figures, b.figures) / max(1, a.figures.shape[1]) + _squared(a.choices, b.choices)
    result: Numbers = _TREND * (1 + _inner(a.figures, b.figures)) + variance * np.exp(-distance / (2 * length_scale**2))
    return result


def _inner(a: Numbers, b: Numbers) -> Numbers:
    result: Numbers = a @ b.T / max(1, a.shape[1])
    return result


def _squared(a: Numbers, b: Numbers) -> Numbers:
    result: Numbers = np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T, 0.0)
    return result
