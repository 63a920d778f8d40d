"""Expected hypervolume improvement over the trained points (Emmerich et al. 2006), where one cost is uncertain."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from codenas.stats.pareto import Point, front

Numbers = npt.NDArray[np.floating[Any]]


def expected_improvement(
    mean: Numbers, sd: Numbers, known: Sequence[Point], trained: Sequence[Point], reference: Point, least: float = -math.inf
) -> Numbers:
    """The expected hypervolume improvement of points with an uncertain first cost and known other costs.

    The first cost is normally distributed. At a first cost of t a point adds the slice of the volume, over the other costs, that it
    dominates and that no trained point with at most t dominates; the expectation is the integral of that slice times the probability
    of less than t. The slice changes only where t passes a point of the front, so the integral is a short exact sum.

    Args:
        mean: of the first cost, [points]; `sd` its standard deviation, above 0.
        known: the other costs of each point, [points][costs - 1].
        trained: all costs of the trained points.
        reference: the reference point of the hypervolume.
        least: lower bound at which the first cost is clipped.
    """
    edge = sorted((tuple(trained[i]) for i in front(trained)), key=lambda point: point[0])
    edge = [point for point in edge if point[0] < reference[0]]
    points, others = np.array(known, dtype=np.float64).reshape(len(mean), -1), [point[1:] for point in edge]
    expected: Numbers = np.zeros(len(mean))
    reached = _below(mean, sd, least)
    for passed, end in enumerate([*(point[0] for point in edge), reference[0]]):
        below = _below(mean, sd, end)
        expected += _slices(points, others[:passed], reference[1:]) * (below - reached)
        reached = below
    return expected


def _below(mean: Numbers, sd: Numbers, end: float) -> Numbers:
    """The integral of the probability of less than t, over all t up to `end`."""
    from scipy.special import ndtr  # takes a while to import, and few commands propose

    if end == -math.inf:
        return np.zeros(len(mean))
    z = (end - mean) / sd
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    result: Numbers = sd * (z * ndtr(z) + density)
    return result


def _slices(points: Numbers, trained: Sequence[Point], reference: Point) -> Numbers:
    """The volume that each of `points` [points, costs] dominates below `reference` and `trained` does not, sliced along each cost in turn.

    Without costs it is 1 if nothing is trained, else 0.
    """
    volume: Numbers = np.zeros(len(points))
    if not reference:
        return volume + (not trained)
    passed = sorted((point for point in trained if point[0] < reference[0]), key=lambda point: point[0])
    starts = [-math.inf, *(point[0] for point in passed)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], reference[0]], strict=True)):
        width = np.maximum(end - np.maximum(points[:, 0], start), 0.0)
        if width.any():
            volume += width * _slices(points[:, 1:], [point[1:] for point in passed[:number]], reference[1:])
    return volume
