"""Zero-cost initialisation along the training-free front, then expected hypervolume improvement.

The costs of an architecture are known before training, and capacity predicts quality: an architecture with less capacity and
higher costs is unlikely to be on the front. So the first trainings are spread along the front of (capacity up, known costs down).
Then a surrogate that is fitted to their scores predicts the quality of others, and the candidate with the largest expected
hypervolume improvement is trained next.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codenas.search.strategies.base import Observation, P, Problem, Suggestion, best
from codenas.search.strategies.improvement import expected_improvement
from codenas.search.strategies.surrogate import Surrogate, features
from codenas.stats.pareto import Point, scaled

_POOL = 300  # draws from a space that does not list its points
_NEAREST = 200  # candidates from the first training-free layers
_OTHERS = 100  # candidates from the other layers
_MUTANTS = 40  # candidates that are mutants of the best
_DRAWS = 6  # of which the farthest from all earlier ones is next (Mitchell 1991)


@dataclass(slots=True, frozen=True)
class Frontier:
    """`spread` trainings along the front, then expected hypervolume improvement; with `correct=False` along the front throughout."""

    spread: int = 6
    correct: bool = True

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """See `Strategy.ask`."""
        tried = list(dict.fromkeys(observation.point for observation in history))
        reported = [observation for observation in history if observation.costs is not None]
        ahead, others = _untried(problem, tried, rng)
        if not ahead:
            return [Suggestion(problem.space.sample(rng), "random") for _ in range(count)]
        if not self.correct or len(tried) < self.spread or len({observation.point for observation in reported}) < 2:
            chosen = _spread(problem, ahead, tried, count, rng)
            return [Suggestion(point, "frontier") for point in chosen]
        points = list(dict.fromkeys([*ahead, *others, *_children(problem, reported, tried, rng)]))
        return [Suggestion(point, "improvement") for point in _improving(problem, points, reported, count, rng)]


def _untried(problem: Problem[P], tried: Collection[P], rng: random.Random) -> tuple[list[P], list[P]]:
    """Untried points: those of the first layers of the training-free order, and a sample of the others, since that order is a heuristic."""
    known = set(tried)
    pool = problem.space.pool(_POOL, rng)
    layers = _listed_layers if isinstance(pool, range | tuple) else _best_layers
    # Rounded up to a power of two: the few distinct arguments keep the cache of a listed space effective.
    first, rest = layers(problem, pool, 2 ** math.ceil(math.log2(_NEAREST + len(known))))
    ahead, others = ([point for point in points if point not in known] for points in (first, rest))
    return _subsample(ahead, 2 * _NEAREST, rng), _subsample(others, _OTHERS, rng)


def _subsample(points: Sequence[P], size: int, rng: random.Random) -> list[P]:
    """At most `size` of `points`, drawn at random, in their order."""
    return [points[i] for i in sorted(rng.sample(range(len(points)), min(size, len(points))))]


def _children(problem: Problem[P], reported: Sequence[Observation[P]], tried: Collection[P], rng: random.Random) -> list[P]:
    """Mutants of the best, untried and inside the limits."""
    known, parents = set(tried), [observation.point for observation in best(reported, 5)]
    mutants = [problem.space.mutate(rng.choice(parents), rng) for _ in range(_MUTANTS)]
    return [point for point in mutants if point not in known and problem.within_limits(point)]


def _best_layers(problem: Problem[P], pool: Sequence[P], min_points: int) -> tuple[list[P], list[P]]:
    """The distinct points of `pool` in two lists: the first layers of the training-free order, front first, and the others.

    As many layers are taken as it takes to have `min_points`. Points outside the limits are dropped, unless all are.
    """
    points = list(dict.fromkeys(pool))
    points = [point for point in points if problem.within_limits(point)] or points
    costs = np.array([_prior_costs(problem, point) for point in points])
    if not costs.size:  # nothing is known before training: all are equal
        return points, []
    rest, found = np.arange(len(points)), list[P]()
    while len(rest) and len(found) < min_points:
        on_front = _front(costs[rest])
        found += [points[i] for i in rest[on_front].tolist()]
        rest = rest[~on_front]
    return found, [points[i] for i in rest.tolist()]


_listed_layers = lru_cache(maxsize=16)(_best_layers)  # of a space that lists its points: a table of thousands is sorted once


def _prior_costs(problem: Problem[P], point: P) -> tuple[float, ...]:
    """The costs that are known before training, lower is better: the negative logarithm of the capacity, and the static costs.

    Without a capacity, each cost stands for it: higher costs are assumed to buy quality.
    """
    costs = [cost for cost in problem.known_costs(point) if cost is not None]
    if problem.capacity is None:
        return (*costs, *(-cost for cost in costs))
    return (-math.log(max(problem.space.static(point)[problem.capacity], 1e-9)), *costs)


def _front(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """A mask of the non-dominated `points`, [points]; vectorised for thousands of them."""
    kept = np.ones(len(points), dtype=bool)
    for i in np.lexsort(points.T[::-1]):  # lexicographic order: a point comes after all that dominate it
        if kept[i]:
            kept &= ~((points >= points[i]).all(axis=1) & (points > points[i]).any(axis=1))
    return kept


def _spread(problem: Problem[P], points: Sequence[P], tried: Sequence[P], count: int, rng: random.Random) -> list[P]:
    """Points of the front, each the farthest from all tried points among a few random ones (best-candidate sampling)."""
    costs = [_prior_costs(problem, point) for point in points]
    if not costs[0]:
        return [rng.choice(points) for _ in range(count)]
    front = [points[i] for i in np.flatnonzero(_front(np.array(costs))).tolist()]
    if len(front) < 2 * count:  # one objective, or a short front: add the layers after it
        front = list(points[: max(2 * count, len(front))])
    coordinates = dict(zip([*front, *tried], scaled([_prior_costs(problem, point) for point in [*front, *tried]]), strict=True))
    taken: list[Point] = [coordinates[point] for point in tried]
    chosen: list[P] = []
    for _ in range(count):
        drawn = [front[rng.randrange(len(front))] for _ in range(_DRAWS)]
        chosen.append(max(drawn, key=lambda point: min((math.dist(coordinates[point], other) for other in taken), default=0.0)))
        taken.append(coordinates[chosen[-1]])
    return chosen


def _improving(problem: Problem[P], points: Sequence[P], reported: Sequence[Observation[P]], count: int, rng: random.Random) -> list[P]:
    """Points of the largest expected improvement, each out of a random half, so that parallel proposals differ."""
    trained = [observation.costs for observation in reported if observation.costs is not None]
    encoded = features(problem.space, [*points, *(observation.point for observation in reported)])
    candidates, observed = range(len(points)), range(len(points), len(points) + len(reported))
    known = np.array([[math.nan if cost is None else cost for cost in problem.known_costs(point)] for point in points])
    costs, deviations = known.copy(), np.zeros_like(known)
    for criterion in np.flatnonzero(np.isnan(known).any(axis=0)).tolist():
        surrogate = Surrogate.fit(encoded.at(observed), [point[criterion] for point in trained])
        costs[:, criterion], deviations[:, criterion] = surrogate.predict(encoded.at(candidates))
    first = int(np.argmax(deviations.max(axis=0) > 0))  # of several trained metrics only the first is taken as uncertain
    order = [first, *(criterion for criterion in range(costs.shape[1]) if criterion != first)]
    reordered = [tuple(point[criterion] for criterion in order) for point in trained]
    least = np.array([criterion.least for criterion in problem.deciding])
    predicted = np.maximum(costs, least)[:, order]
    reference = [max(values) + 1e-9 for values in zip(*reordered, *predicted.tolist(), strict=True)]
    sd = np.maximum(deviations[:, first], 1e-9)
    gains = expected_improvement(costs[:, first], sd, predicted[:, 1:].tolist(), reordered, reference, float(least[first]))
    return [points[max(_random_half(len(points), rng), key=lambda i: gains[i])] for _ in range(count)]


def _random_half(count: int, rng: random.Random) -> list[int]:
    """Half of the indices below `count`, rounded up."""
    return rng.sample(range(count), -(-count // 2))
