"""What proposes candidates. A strategy keeps no state: all it knows is the history it is shown and the generator.

It works on any discrete space: on designs (`codenas.search.design_space`), or on the rows of a table (`codenas.search.replay.table_space`).
"""

import math
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from codenas.stats.pareto import ranking

P = TypeVar("P", bound=Hashable)


class Space(Protocol[P]):
    """A discrete space. Its points are hashable and equal where they are the same; each has one choice for every field."""

    @property
    def choices(self) -> Mapping[str, tuple[Any, ...]]:
        """What each field may be."""
        ...

    def sample(self, rng: random.Random) -> P:
        """A point drawn at random."""
        ...

    def pool(self, count: int, rng: random.Random) -> Sequence[P]:
        """Points to choose among: all of a space that lists them, always the same range or tuple; else a list of `count` draws."""
        ...

    def mutate(self, point: P, rng: random.Random, fields: int = 1) -> P:
        """A point that differs from `point` in `fields` fields, or in about as many."""
        ...

    def cross(self, mother: P, father: P, rng: random.Random) -> P:
        """A point whose fields are those of one of the two, or nearly so."""
        ...

    def near(self, choices: Mapping[str, Any], rng: random.Random) -> P:
        """The point that makes `choices`; one close by where there is none."""
        ...

    def contains(self, point: P) -> bool:
        """Whether `point` is in the space."""
        ...

    def flatten(self, point: P) -> Mapping[str, Any]:
        """The choices that make `point`."""
        ...

    def static(self, point: P) -> Mapping[str, float]:
        """What is known of `point` before it is trained, by metric."""
        ...


@dataclass(slots=True, frozen=True)
class Criterion:
    """A metric that is to be low, or `maximized`; with a limit that nothing may break. Some criteria only limit.

    Attributes:
        target: a value that is good enough: what is better costs as much.
    """

    metric: str
    maximized: bool = False
    limit: float | None = None
    decides: bool = True
    target: float | None = None

    @property
    def least(self) -> float:
        """The cost that nothing is below."""
        if self.target is None:
            return -math.inf
        return -self.target if self.maximized else self.target

    def cost(self, value: float) -> float:
        """`value` turned so that less is better, as far as `target`."""
        return max(-value if self.maximized else value, self.least)

    def broken_by(self, value: float) -> bool:
        """Whether `value` is outside the limit."""
        return self.limit is not None and self.cost(value) > self.cost(self.limit)


@dataclass(slots=True, frozen=True)
class Observation(Generic[P]):
    """A candidate as a strategy is shown it.

    Attributes:
        index: negative of what an earlier search has trained, the last of them -1.
        costs: one for each criterion that decides, less is better; None of what was refused, has failed or has not reported yet.
    """

    index: int
    point: P
    costs: tuple[float, ...] | None = None


@dataclass(slots=True, frozen=True)
class Suggestion(Generic[P]):
    """A proposed point and where it comes from: `parents` are indices of candidates."""

    point: P
    origin: str
    parents: tuple[int, ...] = ()


@dataclass(slots=True, frozen=True)
class Problem(Generic[P]):
    """What is searched.

    Attributes:
        capacity: a metric that is known before training and promises quality where there is much of it, as parameters do.
    """

    space: Space[P]
    criteria: tuple[Criterion, ...]
    capacity: str | None = None

    @property
    def deciding(self) -> tuple[Criterion, ...]:
        """The criteria that costs are given for."""
        return tuple(criterion for criterion in self.criteria if criterion.decides)

    def known_costs(self, point: P) -> tuple[float | None, ...]:
        """The costs of `point` as far as they are known before training."""
        figures = self.space.static(point)
        return tuple(criterion.cost(figures[criterion.metric]) if criterion.metric in figures else None for criterion in self.deciding)

    def within_limits(self, point: P) -> bool:
        """Whether `point` breaks no limit, as far as is known before training."""
        figures = self.space.static(point)
        return not any(criterion.broken_by(figures[criterion.metric]) for criterion in self.criteria if criterion.metric in figures)


class Strategy(Protocol):
    """Proposes. The same history and generator give the same answer, inside the space, whatever the history holds."""

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """`count` points that look worth a training."""
        ...


def best(history: Sequence[Observation[P]], keep: int) -> list[Observation[P]]:
    """The `keep` best that have reported, best first: by non-dominated sort, then spread. Ties go to the earlier candidate."""
    reported = sorted((observation for observation in history if observation.costs is not None), key=lambda observation: observation.index)
    order = ranking([observation.costs for observation in reported if observation.costs is not None], keep)
    return [reported[i] for i in order]
