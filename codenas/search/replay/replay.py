"""A search replayed on recorded results: a training takes no time, so that strategies can be compared over many seeds.

Strategies are compared by the hypervolume of the trained rows, relative to that of all rows, over the training steps that were
spent. Each metric is scaled to the table, and the reference point is the worst value of each.
"""

import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codenas.errors import ConfigError
from codenas.search.adaptive import Contenders, choose_promotions, static_costs
from codenas.search.candidate import Budget
from codenas.search.replay.table import Numbers, Table, at_step
from codenas.search.replay.table_space import TableSpace
from codenas.search.strategies.base import Criterion, Observation, Problem, Strategy
from codenas.seeds import stream
from codenas.stats.hypervolume import hypervolume
from codenas.stats.pareto import Point, front, ranking

_REDRAWS = 16  # proposals that repeat a row before a random one takes their place


@dataclass(slots=True, frozen=True)
class ColumnRoles:
    """The roles of the columns of a table.

    Attributes:
        static: known before training; `capacity` is the one of them that predicts quality.
        trained: known after training, as one column or one for each step that was scored.
        maximized: those of both that are maximised.
        screen: the column by which rungs below the last are ranked, instead of the first trained metric; None: that metric itself.
        choices: the columns that identify an architecture; by default those named `choice.*`, or all without another role.
    """

    static: tuple[str, ...]
    trained: tuple[str, ...]
    maximized: frozenset[str] = frozenset()
    capacity: str | None = None
    screen: str | None = None

    choices: tuple[str, ...] = ()

    @property
    def objectives(self) -> tuple[str, ...]:
        """The optimised columns: the trained metrics, and all static ones but the capacity."""
        return (*self.trained, *(name for name in self.static if name != self.capacity))

    @property
    def all(self) -> tuple[str, ...]:
        """All named columns, none of which is a choice."""
        return (*self.static, *self.trained, *([self.screen] if self.screen else []))

    def check(self, table: Table) -> None:
        """Check that the roles are consistent, and that `table` has the columns.

        Raises:
            ConfigError: they are not, or it does not.
        """
        if not self.trained:
            raise ConfigError("no metric is named that is known after training; a search optimises at least one")
        twice = [name for name, count in Counter((*self.static, *self.trained)).items() if count > 1]
        if twice:
            raise ConfigError(f"{twice[0]} is named twice; a metric is known before training or after it")
        for name in self.maximized:
            if name not in self.objectives:
                raise ConfigError(f"{name} cannot be maximized: it is not among the objectives, {', '.join(self.objectives)}")
        if self.capacity is not None and self.capacity not in self.static:
            raise ConfigError(f"the capacity {self.capacity} is not among the static metrics, {', '.join(self.static) or 'there are none'}")
        table.require([*self.static, *self.choices, *(name for name in self.trained if not table.steps(name))])
        table.require_like_latencies(self.objectives)


@dataclass(slots=True, frozen=True)
class Recorded:
    """A table prepared for replays.

    Attributes:
        budget: of one round of a search; rounds are repeated until the steps are spent. Without rungs a round is one training.
        costs: [rows, objectives] at each rung, lower is better; nan in rows that failed.
        low: the best of each objective over all rows after the last rung; `span` is the distance to the worst.
        volume: the hypervolume of all rows, in these units.
    """

    problem: Problem[int]
    budget: Budget
    costs: Mapping[int, Numbers]
    low: Numbers
    span: Numbers
    volume: float

    @classmethod
    def of(cls, table: Table, roles: ColumnRoles, budget: Budget | None = None) -> "Recorded":
        """Prepare `table` for the rungs of `budget`; without a budget every training runs to its end.

        Raises:
            ConfigError: a column is missing or has a cell that is no finite number, or no choice distinguishes the rows.
        """
        roles.check(table)
        budget = budget or Budget(candidates=1, rungs=(max(table.steps(roles.trained[0]), default=1),), promote=())
        static = {name: table.numbers(name) for name in roles.static}
        space = TableSpace(table.choices(roles.choices, roles.all), static)
        criteria = tuple(Criterion(name, name in roles.maximized) for name in roles.objectives)
        raw = {rung: _costs(table, roles, criteria, rung, rung == budget.rungs[-1]) for rung in budget.rungs}
        last = raw[budget.rungs[-1]]
        trained = last[~np.isnan(last).any(axis=1)]
        if not len(trained) or not np.ptp(trained, axis=0).all():
            raise ConfigError(
                f"{table.path}: {len(trained)} rows were trained to the end, and do not differ in all of {', '.join(roles.objectives)}"
            )
        low, span = trained.min(axis=0), np.ptp(trained, axis=0)
        return cls(Problem(space, criteria, roles.capacity), budget, raw, low, span, _volume(((trained - low) / span).tolist()))

    def cost(self, rung: int, row: int) -> tuple[float, ...] | None:
        """The costs of a row after `rung` steps; None where it failed."""
        costs = tuple(self.costs[rung][row].tolist())
        return None if any(map(math.isnan, costs)) else costs

    def promoted_to_rung(self, rows: Sequence[int], number: int) -> list[int]:
        """The rows that are promoted to rung `number` (1 is the second rung) out of `rows`, best first.

        Adaptive promotion forecasts the first trained metric, and weighs all objectives equally.
        """
        below, rung = self.budget.rungs[number - 1 : number + 1]
        min_promoted, max_promoted = self.budget.at_least[number - 1], self.budget.promote[number - 1]
        reached = [(row, costs) for row in rows if (costs := self.cost(below, row)) is not None]
        rows, points = [row for row, _ in reached], [costs for _, costs in reached]
        if min_promoted == max_promoted:
            return [rows[i] for i in ranking(points, max_promoted)]

        def high_rung_score(position: int) -> float:
            costs = self.cost(rung, rows[position])
            return math.inf if costs is None else costs[0]

        capacities = [self.problem.space.static(row)[self.problem.capacity] if self.problem.capacity else 0.0 for row in rows]
        static = static_costs(points, [1.0] * len(self.problem.criteria), 0)
        contenders = Contenders([point[0] for point in points], capacities, static)
        found = choose_promotions(contenders, ranking(points), min_promoted, max_promoted, high_rung_score)
        return [rows[i] for i in found.chosen]

    def require_rows(self, trainings: int) -> None:
        """Check that there are at least as many rows as `trainings`.

        Raises:
            ConfigError: there are not.
        """
        rows = len(self.problem.space.pool(0, random.Random(0)))
        if trainings > rows:
            raise ConfigError(f"the table has {rows} rows; {trainings} trainings are too many")


def replay(recorded: Recorded, strategy: Strategy, trainings: int, seed: int) -> list[float]:
    """The share of the hypervolume after the steps of each of `trainings` full trainings.

    A training that does not fit into the remaining steps is not started.
    """
    clock = _Clock(trainings, recorded.budget.rungs[-1])
    history, trained = list[Observation[int]](), _Front(recorded)
    while True:
        first = len(history)
        for _ in range(recorded.budget.candidates):
            row = _propose(recorded, strategy, history, seed)
            if row is None or not clock.spend(recorded.budget.rungs[0]):
                return clock.shares()
            history.append(Observation(len(history), row, recorded.cost(recorded.budget.rungs[0], row)))
            if len(recorded.budget.rungs) == 1:
                clock.record(trained.add(history[-1].costs))
        if not _promote(recorded, [observation.point for observation in history[first:]], clock, trained):
            return clock.shares()


def _promote(recorded: Recorded, rows: Sequence[int], clock: "_Clock", trained: "_Front") -> bool:
    """Promote the best of `rows` from rung to rung; False if the steps are spent."""
    budget = recorded.budget
    for number, (low, high) in enumerate(pairwise(budget.rungs), 1):
        rows = recorded.promoted_to_rung(rows, number)
        for row in rows:
            if not clock.spend(high - low):
                return False
            if high == budget.rungs[-1]:
                clock.record(trained.add(recorded.cost(high, row)))
    return True


def _propose(recorded: Recorded, strategy: Strategy, history: Sequence[Observation[int]], seed: int) -> int | None:
    """A row that was not proposed before; None if there is none left."""
    rng, known = stream(seed, "proposal", len(history)), {observation.point for observation in history}
    for count in (1, _REDRAWS):  # many at once: the strategy fits the history once for all of them
        for suggestion in strategy.ask(recorded.problem, history, count, rng):
            if suggestion.point not in known:
                return suggestion.point
    left = [row for row in recorded.problem.space.pool(0, rng) if row not in known]
    return rng.choice(left) if left else None


class _Clock:
    """Counts training steps, and records the share of the volume at each count."""

    def __init__(self, trainings: int, steps: int) -> None:
        self._trainings, self._steps, self._spent = trainings, steps, 0
        self._recorded = [(0, 0.0)]

    def spend(self, steps: int) -> bool:
        """Spend `steps` if enough are left, and return whether they were."""
        enough = self._spent + steps <= self._trainings * self._steps
        self._spent += steps if enough else 0
        return enough

    def record(self, share: float) -> None:
        """Record the share that is reached now."""
        self._recorded.append((self._spent, share))

    def shares(self) -> list[float]:
        """The share after each training's worth of steps."""
        budgets = [training * self._steps for training in range(1, self._trainings + 1)]
        spent = [when for when, _ in self._recorded]
        return [self._recorded[bisect_right(spent, end) - 1][1] for end in budgets]


class _Front:
    """The Pareto front of the fully trained rows, and its share of the hypervolume."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded, self._points, self._share = recorded, list[Point](), 0.0

    def add(self, costs: Point | None) -> float:
        """Add a row by its costs (None if it failed), and return the share."""
        if costs is not None:
            point = tuple(((np.array(costs) - self._recorded.low) / self._recorded.span).tolist())
            self._points.append(point)
            self._points = [self._points[i] for i in front(self._points)]
            self._share = _volume(self._points) / self._recorded.volume
        return self._share


def _volume(points: Sequence[Point]) -> float:
    return hypervolume(points, (1.0,) * len(points[0]))


def _costs(table: Table, roles: ColumnRoles, criteria: Sequence[Criterion], rung: int, last: bool) -> Numbers:
    """The costs of all rows at `rung`: static metrics are the same at every rung, trained ones are those after `rung` steps."""
    columns = []
    for criterion in criteria:
        name = criterion.metric
        if name in roles.trained:
            screen = roles.screen if roles.screen and name == roles.trained[0] and not last else name
            name = screen if last and screen in table.columns else at_step(screen, rung)
        columns.append(table.numbers(name, gaps=criterion.metric in roles.trained) * (-1 if criterion.maximized else 1))
    return np.stack(columns, axis=1)
