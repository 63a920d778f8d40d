"""First along the training-free front, then where training has shown that most is to be gained.

Before any training it is known what an architecture costs, and that much capacity promises quality: one with less capacity and
higher costs will hardly be on the front. So the first trainings are spread along the front of (capacity up, known costs down).
What they showed then corrects that promise: a surrogate guesses the quality of others, and the one is trained next that is
expected to enlarge the volume most.
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
_NEAREST = 200  # points of the first training-free layers that are looked at
_OTHERS = 100  # of all the others
_MUTANTS = 40  # and children of the best
_DRAWS = 6  # of which the farthest from all before is next (Mitchell 1991)


@dataclass(slots=True, frozen=True)
class Frontier:
    """`spread` trainings along the front, then what is expected to improve on them; with `correct=False` along the front for ever."""

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
    """Points that were not tried: the first layers of the training-free order; and some of the others, for it may be wrong."""
    known = set(tried)
    pool = problem.space.pool(_POOL, rng)
    layers = _listed_layers if isinstance(pool, range | tuple) else _first_layers
    # As many more as were tried, rounded up: few different questions, so that the answer for a listed space is mostly known.
    first, rest = layers(problem, pool, 2 ** math.ceil(math.log2(_NEAREST + len(known))))
    ahead, others = ([point for point in points if point not in known] for points in (first, rest))
    return _some(ahead, 2 * _NEAREST, rng), _some(others, _OTHERS, rng)


def _some(points: Sequence[P], most: int, rng: random.Random) -> list[P]:
    """All of `points`, or `most` of them at random; in their order."""
    return [points[i] for i in sorted(rng.sample(range(len(points)), min(most, len(points))))]


def _children(problem: Problem[P], reported: Sequence[Observation[P]], tried: Collection[P], rng: random.Random) -> list[P]:
    """Children of the best, untried and inside the limits."""
    known, parents = set(tried), [observation.point for observation in best(reported, 5)]
    mutants = [problem.space.mutate(rng.choice(parents), rng) for _ in range(_MUTANTS)]
    return [point for point in mutants if point not in known and problem.within_limits(point)]


def _first_layers(problem: Problem[P], pool: Sequence[P], least: int) -> tuple[list[P], list[P]]:
    """Different points of `pool` inside the limits, if any are: the first layers of the training-free order, the front first; the rest.

    Those are all layers until they make `least` points or more.
    """
    points = list(dict.fromkeys(pool))
    points = [point for point in points if problem.within_limits(point)] or points
    promises = np.array([_promise(problem, point) for point in points])
    if not promises.size:  # nothing is known before training: all are equal
        return points, []
    rest, found = np.arange(len(points)), list[P]()
    while len(rest) and len(found) < least:
        on_front = _front(promises[rest])
        found += [points[i] for i in rest[on_front].tolist()]
        rest = rest[~on_front]
    return found, [points[i] for i in rest.tolist()]


_listed_layers = lru_cache(maxsize=16)(_first_layers)  # of a space that lists its points: a table of thousands is sorted once


def _promise(problem: Problem[P], point: P) -> tuple[float, ...]:
    """What is known before training, less is better: the logarithm of the capacity, and the known costs.

    Without a capacity it is what costs more that promises more.
    """
    costs = [cost for cost in problem.known_costs(point) if cost is not None]
    if problem.capacity is None:
        return (*costs, *(-cost for cost in costs))
    return (-math.log(max(problem.space.static(point)[problem.capacity], 1e-9)), *costs)


def _front(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of `points` no other dominates, [points]; for thousands of them."""
    kept = np.ones(len(points), dtype=bool)
    for i in np.lexsort(points.T[::-1]):  # who dominates a point comes before it
        if kept[i]:
            kept &= ~((points >= points[i]).all(axis=1) & (points > points[i]).any(axis=1))
    return kept


def _spread(problem: Problem[P], points: Sequence[P], tried: Sequence[P], count: int, rng: random.Random) -> list[P]:
    """Points of the front, each the farthest of some random ones from all that were tried."""
    promises = [_promise(problem, point) for point in points]
    if not promises[0]:
        return [rng.choice(points) for _ in range(count)]
    front = [points[i] for i in np.flatnonzero(_front(np.array(promises))).tolist()]
    if len(front) < 2 * count:  # one objective, or a short front: the layers behind it belong to it
        front = list(points[: max(2 * count, len(front))])
    places = dict(zip([*front, *tried], scaled([_promise(problem, point) for point in [*front, *tried]]), strict=True))
    taken: list[Point] = [places[point] for point in tried]
    chosen: list[P] = []
    for _ in range(count):
        drawn = [front[rng.randrange(len(front))] for _ in range(_DRAWS)]
        chosen.append(max(drawn, key=lambda point: min((math.dist(places[point], place) for place in taken), default=0.0)))
        taken.append(places[chosen[-1]])
    return chosen


def _improving(problem: Problem[P], points: Sequence[P], reported: Sequence[Observation[P]], count: int, rng: random.Random) -> list[P]:
    """Points of the largest expected improvement, each of a random half: who asks at the same time shall not train the same."""
    trained = [observation.costs for observation in reported if observation.costs is not None]
    everyone = features(problem.space, [*points, *(observation.point for observation in reported)])
    ahead, behind = range(len(points)), range(len(points), len(points) + len(reported))
    known = np.array([[math.nan if cost is None else cost for cost in problem.known_costs(point)] for point in points])
    costs, deviations = known.copy(), np.zeros_like(known)
    for criterion in np.flatnonzero(np.isnan(known).any(axis=0)).tolist():
        surrogate = Surrogate.fit(everyone.at(behind), [point[criterion] for point in trained])
        costs[:, criterion], deviations[:, criterion] = surrogate.predict(everyone.at(ahead))
    first = int(np.argmax(deviations.max(axis=0) > 0))  # of several that training decides the first is uncertain, the others are as guessed
    order = [first, *(criterion for criterion in range(costs.shape[1]) if criterion != first)]
    turned = [tuple(point[criterion] for criterion in order) for point in trained]
    least = np.array([criterion.least for criterion in problem.deciding])
    guessed = np.maximum(costs, least)[:, order]
    reference = [max(values) + 1e-9 for values in zip(*turned, *guessed.tolist(), strict=True)]
    sd = np.maximum(deviations[:, first], 1e-9)
    gains = expected_improvement(costs[:, first], sd, guessed[:, 1:].tolist(), turned, reference, float(least[first]))
    return [points[max(_half(len(points), rng), key=lambda i: gains[i])] for _ in range(count)]


def _half(count: int, rng: random.Random) -> list[int]:
    return rng.sample(range(count), -(-count // 2))
