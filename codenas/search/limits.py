"""Limits on static metrics: why a design is refused, and the errors if no design satisfies them.

A latency that is only predicted counts with the lower bound of the prediction, and is never recorded as a metric.
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

DRAWS = 2_000  # random designs with which the limits are checked
_SHORTLIST = 50  # the smallest draws by estimate, whose exact size is counted


@dataclass(slots=True, frozen=True)
class Estimate:
    """A design with its computed or measured `metrics`, and a lower bound of its latency, None without one."""

    design: Design
    metrics: Metrics
    latency_bound: float | None = None

    def value(self, objective: Objective) -> float | None:
        """The value that is compared with the limit of `objective`; None if it is not known yet."""
        measured = objective.value(self.metrics)
        return self.latency_bound if measured is None and objective.metric == LATENCY else measured

    def cost(self, objective: Objective) -> float:
        """`value` with the sign that makes lower better; infinite if it is not known."""
        value = self.value(objective)
        return math.inf if value is None else objective.criterion.cost(value)

    def violation(self, objective: Objective) -> str | None:
        """Why the design violates the limit of `objective`; None if it does not, or if that is not known yet."""
        value = self.value(objective)
        if value is None or not objective.outside(value):
            return None
        if objective.value(self.metrics) is not None:
            return objective.broken_by(self.metrics)
        return f"{objective.metric} is predicted at {objective.formatted(value)} or more, outside its limit, {objective.bound}"


def refusal_reason(static_metrics: StaticMetrics, design: Design, objectives: Sequence[Objective]) -> str | None:
    """Why `design` violates a limit before training; None if it may satisfy all."""
    return next(_reasons(_estimate(static_metrics, design, static_metrics.counted(design), objectives), objectives), None)


def require_reachable(
    space: SearchSpace, static_metrics: StaticMetrics, objectives: Sequence[Objective], seed: int, draws: int = DRAWS
) -> Design:
    """Check that each limit is satisfied by at least one of `draws` random designs of `space`, by static metrics.

    Returns:
        The design with the smallest stored size.

    Raises:
        BudgetError: none of them satisfies a limit; the message names it, the nearest design, and a limit that this one satisfies.
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
        if (reason := nearest.violation(objective)) is not None:
            raise BudgetError(
                f"no architecture can meet the limit: of the nearest in {draws:,} draws ({describe_design(nearest.design)}) {reason}; "
                f"relax the limit to {_satisfied_limit(objective, nearest)} or search smaller architectures"
            )
    return min(counted, key=lambda each: each.metrics.size_bytes or 0).design


def all_refused(refused: Sequence[Trial], static_metrics: StaticMetrics, objectives: Sequence[Objective]) -> BudgetError:
    """The error if all candidates were refused: it names the limit that most of them violated, and the nearest candidate."""
    tried = [
        _estimate(static_metrics, trial.candidate.design, trial.refusal.metrics, objectives)
        for trial in refused
        if trial.refusal is not None
    ]
    limit = max(objectives, key=lambda objective: sum(each.violation(objective) is not None for each in tried))
    broken = [each for each in tried if each.violation(limit) is not None]
    summary = f"no architecture met the limit: all of {len(tried)} were refused"
    if not broken:  # the history has other limits, or another calibration
        reason = next(trial.refusal.reason for trial in reversed(refused) if trial.refusal is not None)
        return BudgetError(f"{summary}, the last of them because {reason}; relax the limit or search smaller architectures")
    nearest = min(broken, key=partial(_cost, limit))
    return BudgetError(
        f"{summary}, of the nearest ({describe_design(nearest.design)}) {nearest.violation(limit)}; "
        f"relax the limit to {_satisfied_limit(limit, nearest)} or search smaller architectures"
    )


def describe_design(design: Design) -> str:
    """A short description of the size of a design."""
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
    return (reason for objective in objectives if (reason := estimate.violation(objective)) is not None)


def _estimate(static_metrics: StaticMetrics, design: Design, known: Metrics, objectives: Sequence[Objective]) -> Estimate:
    """`known` with the lower bound of the latency, which is predicted only if there is a limit on it."""
    limited = any(each.metric == LATENCY and each.limit is not None for each in objectives)
    wanted = limited and known.latency_ms_p50 is None
    return Estimate(design, known, static_metrics.latency_bound(design) if wanted else None)


def _satisfied_limit(objective: Objective, nearest: Estimate) -> str:
    """A limit that `nearest` satisfies, rounded to a few digits."""
    value = nearest.value(objective) or 0
    step = 10_000 if objective.metric == SIZE else 1 if float(value).is_integer() else 1e-3
    steps = math.ceil(value / step) if objective.direction == "minimize" else math.floor(value / step)
    return METRICS[objective.metric].exact(round(steps * step, 3))
