"""First along the training-free front, then where training has shown that most is to be gained.

Before any training it is known what an architecture takes, and that much capacity promises quality: whoever has less of it and
takes more will hardly be on the front. So the first trainings are spread along the front of (capacity up, known costs down).
What they showed then corrects that promise: a surrogate guesses the quality of others, and the one is trained next that is
expected to enlarge the volume most.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codenas.search.improvement import expected_improvement
from codenas.search.pareto import Point, scaled
from codenas.search.strategy import Idea, P, Problem, Seen, best
from codenas.search.surrogate import Surrogate, features

_POOL = 300  # draws from a space that does not list its points
_NEAREST = 200  # points of the first training-free layers that are looked at
_MUTANTS = 40  # and children of the best
_DRAWS = 6  # of which the farthest from all before is next (Mitchell 1991)


@dataclass(slots=True, frozen=True)
class Frontier:
    """`spread` trainings along the front, then what is expected to improve on them; with `correct=False` along the front for ever."""

    spread: int = 8
    correct: bool = True

    def ask(self, problem: Problem[P], history: Sequence[Seen[P]], count: int, rng: random.Random) -> list[Idea[P]]:
        """See `Strategy.ask`."""
        tried = list(dict.fromkeys(seen.point for seen in history))
        reported = [seen for seen in history if seen.costs is not None]
        points = _candidates(problem, reported, tried, rng)
        if not points:
            return [Idea(problem.space.sample(rng), "random") for _ in range(count)]
        if not self.correct or len(tried) < self.spread or len({seen.point for seen in reported}) < 2:
            chosen = _spread(problem, points, tried, count, rng)
            return [Idea(point, "frontier") for point in chosen]
        return [Idea(point, "improvement") for point in _improving(problem, points, reported, count, rng)]


def _candidates(problem: Problem[P], reported: Sequence[Seen[P]], tried: Collection[P], rng: random.Random) -> list[P]:
    """Points inside the limits that were not tried: the first layers of the training-free order, and children of the best."""
    known = set(tried)
    drawn = [point for point in dict.fromkeys(problem.space.pool(_POOL, rng)) if point not in known]
    inside = [point for point in drawn if problem.within_limits(point)] or drawn
    parents = [seen.point for seen in best(reported, 5)]
    mutants = [problem.space.mutate(rng.choice(parents), rng) for _ in range(_MUTANTS)] if parents else []
    fresh = [point for point in dict.fromkeys(mutants) if point not in known and problem.within_limits(point)]
    return list(dict.fromkeys([*_first_layers(problem, inside, _NEAREST), *fresh]))


def _first_layers(problem: Problem[P], points: Sequence[P], least: int) -> list[P]:
    """The layers of the training-free order, the front first, until there are `least` points."""
    promises = np.array([_promise(problem, point) for point in points])
    if not promises.size:  # nothing is known before training: all are equal
        return list(points)
    rest, found = np.arange(len(points)), list[P]()
    while len(rest) and len(found) < least:
        on_front = _front(promises[rest])
        found += [points[i] for i in rest[on_front].tolist()]
        rest = rest[~on_front]
    return found


def _promise(problem: Problem[P], point: P) -> tuple[float, ...]:
    """What is known before training, less is better: the logarithm of the capacity, and the known costs."""
    figures = problem.space.free(point)
    capacity = () if problem.capacity is None else (-math.log(max(figures[problem.capacity], 1e-9)),)
    return (*capacity, *(cost for cost in problem.known_costs(point) if cost is not None))


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


def _improving(problem: Problem[P], points: Sequence[P], reported: Sequence[Seen[P]], count: int, rng: random.Random) -> list[P]:
    """Points of the largest expected improvement, each of a random half: who asks at the same time shall not train the same."""
    trained = [seen.costs for seen in reported if seen.costs is not None]
    everyone = features(problem.space, [*points, *(seen.point for seen in reported)])
    ahead, behind = range(len(points)), range(len(points), len(points) + len(reported))
    known = np.array([[math.nan if cost is None else cost for cost in problem.known_costs(point)] for point in points])
    costs, deviations = known.copy(), np.zeros_like(known)
    for goal in np.flatnonzero(np.isnan(known).any(axis=0)).tolist():
        surrogate = Surrogate.fit(everyone.at(behind), [point[goal] for point in trained])
        costs[:, goal], deviations[:, goal] = surrogate.predict(everyone.at(ahead))
    first = int(np.argmax(deviations.max(axis=0) > 0))  # of several that training decides the first is uncertain, the others are as guessed
    order = [first, *(goal for goal in range(costs.shape[1]) if goal != first)]
    turned = [tuple(point[goal] for goal in order) for point in trained]
    least = np.array([goal.least for goal in problem.deciding])
    guessed = np.maximum(costs, least)[:, order]
    reference = [max(values) + 1e-9 for values in zip(*turned, *guessed.tolist(), strict=True)]
    sd = np.maximum(deviations[:, first], 1e-9)
    gains = expected_improvement(costs[:, first], sd, guessed[:, 1:].tolist(), turned, reference, float(least[first]))
    return [points[max(_half(len(points), rng), key=lambda i: gains[i])] for _ in range(count)]


def _half(count: int, rng: random.Random) -> list[int]:
    return rng.sample(range(count), -(-count // 2))
