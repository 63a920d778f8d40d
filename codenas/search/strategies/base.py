"""The interface of strategies, which propose candidates. A strategy is stateless: its input is the history and a random generator.

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
        """The values that each field may take."""
        ...

    def sample(self, rng: random.Random) -> P:
        """A point drawn at random."""
        ...

    def pool(self, count: int, rng: random.Random) -> Sequence[P]:
        """Points to choose among: of an enumerable space all, always as the same range or tuple; of any other a list of `count` draws."""
        ...

    def mutate(self, point: P, rng: random.Random, fields: int = 1) -> P:
        """A point that differs from `point` in `fields` fields, or in about as many."""
        ...

    def cross(self, mother: P, father: P, rng: random.Random) -> P:
        """A point that takes each field from one of the two, or a point close to that."""
        ...

    def near(self, choices: Mapping[str, Any], rng: random.Random) -> P:
        """The point with `choices`, or one close to them if there is none."""
        ...

    def contains(self, point: P) -> bool:
        """Whether `point` is in the space."""
        ...

    def flatten(self, point: P) -> Mapping[str, Any]:
        """The choices of `point`, by field."""
        ...

    def static(self, point: P) -> Mapping[str, float]:
        """The static metrics of `point`, by name."""
        ...


@dataclass(slots=True, frozen=True)
class Criterion:
    """A metric that is minimised, or `maximized`, perhaps with a limit. Criteria that do not decide are limits only.

    Attributes:
        target: a value that is good enough: better ones cost the same.
    """

    metric: str
    maximized: bool = False
    limit: float | None = None
    decides: bool = True
    target: float | None = None

    @property
    def least(self) -> float:
        """The lower bound of the cost."""
        if self.target is None:
            return -math.inf
        return -self.target if self.maximized else self.target

    def cost(self, value: float) -> float:
        """`value` with the sign that makes lower better, clipped at `target`."""
        return max(-value if self.maximized else value, self.least)

    def broken_by(self, value: float) -> bool:
        """Whether `value` violates the limit."""
        return self.limit is not None and self.cost(value) > self.cost(self.limit)


@dataclass(slots=True, frozen=True)
class Observation(Generic[P]):
    """A candidate as strategies observe it.

    Attributes:
        index: negative for prior trials of earlier searches, the last of them -1.
        costs: one for each deciding criterion, lower is better; None if the candidate was refused, failed or has not reported yet.
    """

    index: int
    point: P
    costs: tuple[float, ...] | None = None


@dataclass(slots=True, frozen=True)
class Suggestion(Generic[P]):
    """A proposed point and its origin; `parents` are indices of candidates."""

    point: P
    origin: str
    parents: tuple[int, ...] = ()


@dataclass(slots=True, frozen=True)
class Problem(Generic[P]):
    """The space and the criteria of a search.

    Attributes:
        capacity: a static metric that predicts quality, such as the number of parameters; None without one.
    """

    space: Space[P]
    criteria: tuple[Criterion, ...]
    capacity: str | None = None

    @property
    def deciding(self) -> tuple[Criterion, ...]:
        """The criteria that are optimised."""
        return tuple(criterion for criterion in self.criteria if criterion.decides)

    def known_costs(self, point: P) -> tuple[float | None, ...]:
        """The costs of `point`; None for those that are not known before training."""
        figures = self.space.static(point)
        return tuple(criterion.cost(figures[criterion.metric]) if criterion.metric in figures else None for criterion in self.deciding)

    def within_limits(self, point: P) -> bool:
        """Whether the static metrics of `point` satisfy all limits."""
        figures = self.space.static(point)
        return not any(criterion.broken_by(figures[criterion.metric]) for criterion in self.criteria if criterion.metric in figures)


class Strategy(Protocol):
    """Proposes points of the space. The same history and generator state give the same proposals."""

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """Propose `count` points to train."""
        ...


def best(history: Sequence[Observation[P]], keep: int) -> list[Observation[P]]:
    """The `keep` best that have reported, best first: by non-dominated sort, then spread. Ties go to the earlier candidate."""
    reported = sorted((observation for observation in history if observation.costs is not None), key=lambda observation: observation.index)
    order = ranking([observation.costs for observation in reported if observation.costs is not None], keep)
    return [reported[i] for i in order]
