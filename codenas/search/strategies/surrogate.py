"""What a training will cost in quality, guessed from some dozen trainings: a small Gaussian process (Rasmussen and Williams 2006).

A straight line over the figures that are known before training carries the trend (more parameters, better scores), and a smooth
part over figures and choices what differs from it. Of a handful of settings the one counts that makes the trainings likeliest.
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

_TREND = 4.0  # prior variance of the trend, in variances of what was observed
_LENGTHS, _WIGGLES, _NOISES = (0.5, 1.0, 2.0), (0.05, 0.3, 1.0), (0.003, 0.03, 0.2)


@dataclass(slots=True, frozen=True)
class Features:
    """What points are compared by: `figures` [points, f] carry the trend, `choices` [points, c] come on top."""

    figures: Numbers
    choices: Numbers

    def at(self, rows: Sequence[int]) -> "Features":
        """Those of some of the points."""
        return Features(self.figures[list(rows)], self.choices[list(rows)])


def features(space: Space[P], points: Sequence[P]) -> Features:
    """Of `points`: figures as logarithms of mean 0 and deviation 1; numbers as their place among the choices, words as bits."""
    figures = np.array([list(space.static(point).values()) for point in points], dtype=np.float64).reshape(len(points), -1)
    positive = (figures > 0).all(axis=0)
    figures = np.where(positive, np.log(np.where(positive, figures, 1.0)), figures)
    deviation = figures.std(axis=0)
    figures = (figures - figures.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    codes = {name: {value: _code(values, value) for value in values} for name, values in space.choices.items() if len(values) > 1}
    coded = np.array([_coded(codes, space.choices, space.flatten(point)) for point in points]).reshape(len(points), -1)
    return Features(figures, coded / math.sqrt(max(1, len(space.choices))))


def _coded(codes: Mapping[str, Mapping[Any, list[float]]], choices: Mapping[str, tuple[Any, ...]], point: Mapping[str, Any]) -> list[float]:
    """All choices of `point`; an inactive field may have a value that is none of them."""
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
    """The process after it has observed trainings; see `fit`."""

    observed: Features
    mean: float
    deviation: float
    settings: tuple[float, float, float]
    weights: Numbers
    inverse: Numbers

    @classmethod
    def fit(cls, observed: Features, values: Sequence[float]) -> "Surrogate":
        """Of what was `observed` and its `values`, one or more."""
        y = np.array(values, dtype=np.float64)
        mean, deviation = float(y.mean()), float(y.std()) or 1.0
        y = (y - mean) / deviation
        best: tuple[float, tuple[float, float, float], Numbers] | None = None
        for settings in itertools.product(_LENGTHS, _WIGGLES, _NOISES):
            root = np.linalg.cholesky(_covariance(observed, observed, settings) + settings[2] * np.eye(len(y)))
            white = np.linalg.solve(root, y)
            likelihood = -float(white @ white) / 2 - float(np.log(np.diag(root)).sum())
            if best is None or likelihood > best[0]:
                best = likelihood, settings, root
        assert best is not None
        inverse = np.linalg.inv(best[2])
        return cls(observed, mean, deviation, best[1], inverse.T @ (inverse @ y), inverse)

    def predict(self, points: Features) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of the value of each of `points`."""
        cross = _covariance(points, self.observed, self.settings)
        own = _TREND * (1 + _inner(points.figures, points.figures).diagonal()) + self.settings[1]
        variance = own - ((self.inverse @ cross.T) ** 2).sum(axis=0)
        sd = np.sqrt(np.maximum(variance, 1e-9))
        return self.mean + self.deviation * (cross @ self.weights), self.deviation * sd


def _covariance(a: Features, b: Features, settings: tuple[float, float, float]) -> Numbers:
    length, wiggle, _ = settings
    distance = _squared(a.figures, b.figures) / max(1, a.figures.shape[1]) + _squared(a.choices, b.choices)
    result: Numbers = _TREND * (1 + _inner(a.figures, b.figures)) + wiggle * np.exp(-distance / (2 * length**2))
    return result


def _inner(a: Numbers, b: Numbers) -> Numbers:
    result: Numbers = a @ b.T / max(1, a.shape[1])
    return result


def _squared(a: Numbers, b: Numbers) -> Numbers:
    result: Numbers = np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T, 0.0)
    return result
