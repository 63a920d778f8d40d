"""Limits that designs break before training: why one is refused, and what to say when nothing is inside them.

A latency that is only predicted counts as the lower bound of the prediction, and is no metric: it is never recorded as one.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.errors import BudgetError
from codenas.metrics import LATENCY, METRICS, SIZE, Metrics
from codenas.search.candidate import Trial
from codenas.search.fitness import Objective
from codenas.search.static_metrics import StaticMetrics
from codenas.seeds import stream

DRAWS = 2_000  # of a space, to see whether anything in it is inside the limits
_SHORTLIST = 50  # of the smallest draws, as estimated, whose bytes are counted


@dataclass(slots=True, frozen=True)
class Estimate:
    """What is known of `design`: `metrics` that were counted or measured, and a lower bound of the latency, None where there is none."""

    design: Design
    metrics: Metrics
    latency_bound: float | None = None

    def value(self, objective: Objective) -> float | None:
        """What counts against the limit of `objective`; None where nothing is known yet."""
        measured = objective.value(self.metrics)
        return self.latency_bound if measured is None and objective.metric == LATENCY else measured

    def cost(self, objective: Objective) -> float:
        """`value` turned so that less is better; infinite where nothing is known."""
        value = self.value(objective)
        return math.inf if value is None else objective.criterion.cost(value)

    def broken(self, objective: Objective) -> str | None:
        """Why it is outside the limit of `objective`; None inside it, or where nothing is known yet."""
        value = self.value(objective)
        if value is None or not objective.outside(value):
            return None
        if objective.value(self.metrics) is not None:
            return objective.broken_by(self.metrics)
        return f"{objective.metric} is predicted at {objective.formatted(value)} or more, outside its limit, {objective.bound}"


def refusal_reason(static_metrics: StaticMetrics, design: Design, objectives: Sequence[Objective]) -> str | None:
    """Why `design` need not be built; None where it may be inside all limits."""
    return next(_reasons(_estimate(static_metrics, design, static_metrics.counted(design), objectives), objectives), None)


def require_reachable(
    space: SearchSpace, static_metrics: StaticMetrics, objectives: Sequence[Objective], seed: int, draws: int = DRAWS
) -> Design:
    """See that each limit is met by one of `draws` designs of `space` at least, as far as static metrics say.

    Returns:
        The smallest as stored.

    Raises:
        BudgetError: none of them meets a limit; the message names it, the nearest design, and a limit that this one meets.
        ConfigError: a latency cannot be predicted.
    """
    rng = stream(seed, "reachable")
    sampled = [space.sample(rng) for _ in range(draws)]
    small = [min(sampled, key=static_metrics.stored_parameters), *nsmallest(_SHORTLIST, sampled, key=static_metrics.estimated_bytes)]
    counted = [Estimate(design, static_metrics.counted(design)) for design in small]
    for objective in objectives:
        known = counted
        if objective.metric == LATENCY and objective.limit is not None and static_metrics.min_latency_ms is not None:
            known = [Estimate(design, Metrics(), static_metrics.latency_bound(design)) for design in sampled]
        nearest = min(known, key=partial(_cost, objective))
        if (reason := nearest.broken(objective)) is not None:
            raise BudgetError(
                f"no architecture can meet the limit: of the nearest in {draws:,} draws ({describe_design(nearest.design)}) {reason}; "
                f"relax the limit to {_satisfied_limit(objective, nearest)} or search smaller architectures"
            )
    return min(counted, key=lambda each: each.metrics.size_bytes or 0).design


def all_refused(refused: Sequence[Trial], static_metrics: StaticMetrics, objectives: Sequence[Objective]) -> BudgetError:
    """The error of a search all of whose candidates were refused: the limit that most of them broke, and how near the nearest came."""
    tried = [
        _estimate(static_metrics, trial.candidate.design, trial.refusal.metrics, objectives)
        for trial in refused
        if trial.refusal is not None
    ]
    limit = max(objectives, key=lambda objective: sum(each.broken(objective) is not None for each in tried))
    broken = [each for each in tried if each.broken(limit) is not None]
    summary = f"no architecture met the limit: all of {len(tried)} were refused"
    if not broken:  # a history of other limits, or of another calibration
        reason = next(trial.refusal.reason for trial in reversed(refused) if trial.refusal is not None)
        return BudgetError(f"{summary}, the last of them because {reason}; relax the limit or search smaller architectures")
    nearest = min(broken, key=partial(_cost, limit))
    return BudgetError(
        f"{summary}, of the nearest ({describe_design(nearest.design)}) {nearest.broken(limit)}; "
        f"relax the limit to {_satisfied_limit(limit, nearest)} or search smaller architectures"
    )


def describe_design(design: Design) -> str:
    """What makes a design large, in few words."""
    words = [f"d_model {design.arch.d_model}", f"{design.arch.n_layers} layers"]
    if design.vocabulary is not None:
        words.append(design.vocabulary)
    if design.storage != "float16":
        words.append(design.storage)
    if design.pruning:
        words.append(f"pruned by {design.pruning:g}")
    return ", ".join(words)


def _cost(objective: Objective, estimate: Estimate) -> float:
    return estimate.cost(objective)


def _reasons(estimate: Estimate, objectives: Iterable[Objective]) -> Iterator[str]:
    return (reason for objective in objectives if (reason := estimate.broken(objective)) is not None)


def _estimate(static_metrics: StaticMetrics, design: Design, known: Metrics, objectives: Sequence[Objective]) -> Estimate:
    """`known` with the lower bound of the latency, which is predicted only where there is a limit on it."""
    limited = any(each.metric == LATENCY and each.limit is not None for each in objectives)
    wanted = limited and known.latency_ms_p50 is None
    return Estimate(design, known, static_metrics.latency_bound(design) if wanted else None)


def _satisfied_limit(objective: Objective, nearest: Estimate) -> str:
    """A limit that `nearest` satisfies, in few digits: rounded up for an upper bound, down for a lower one."""
    value = nearest.value(objective) or 0
    step = 10_000 if objective.metric == SIZE else 1 if float(value).is_integer() else 1e-3
    steps = math.ceil(value / step) if objective.direction == "minimize" else math.floor(value / step)
    return METRICS[objective.metric].exact(round(steps * step, 3))
