"""Repeats of finalists with other seeds: which are repeated, which wins, and which are tied with it.

A fixed number of the best finalists is repeated, so that the cost is known beforehand. The repeats then show which differences are
significant. Repeat k has the same seed (of weights and order of the data) for every candidate, as the first training has.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from codenas.errors import NoWinnerError
from codenas.metrics import Metrics
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective, broken_limit, weighted_fitness
from codenas.stats.significance import PooledVariance


@dataclass(slots=True, frozen=True)
class Selection:
    """The winner. `repeated` are finalists with repeats, best first; `ties` those that are not significantly worse."""

    winner: Trial
    repeated: tuple[Trial, ...] = ()
    ties: tuple[Trial, ...] = ()


def finalists_to_repeat(finalists: Sequence[Trial], budget: Budget, objectives: Sequence[Objective]) -> list[Trial]:
    """The fittest `budget.repeated` inside the limits, best first, by their first seed alone, so that repeats do not change the choice."""
    rung = budget.rungs[-1]
    reported = [(trial, report.metrics) for trial in finalists if (report := trial.report(rung))]
    fitness = weighted_fitness([metrics for _, metrics in reported], objectives)
    order = sorted(range(len(reported)), key=lambda i: (fitness[i], i))
    return [reported[i][0] for i in order if broken_limit(reported[i][1], objectives) is None][: budget.repeated]


def next_repeat(
    finalists: Sequence[Trial],
    budget: Budget,
    objectives: Sequence[Objective],
    running: Collection[tuple[int, int]],
    step_time: Callable[[Trial], float],
) -> Job | None:
    """The longest remaining repeat; `running` are pairs of a candidate's index and the number of its repeat."""
    if not budget.repeats:
        return None
    for trial in sorted(finalists_to_repeat(finalists, budget, objectives), key=lambda trial: -step_time(trial)):
        for repeat in range(1, budget.repeats + 1):
            if not trial.repeated(repeat) and (trial.candidate.index, repeat) not in running:
                return Job(trial.candidate.with_repeat(repeat), budget.rungs[-1])
    return None


def select_winner(finalists: Sequence[Trial], budget: Budget, objectives: Sequence[Objective]) -> Selection:
    """The fittest of `finalists`, at least one, that is inside every limit; in a draw the one that was promoted first.

    Fitness is scaled over all trainings; the mean over seeds counts, among ties too. A finalist without repeats has a single seed and
    ranks after all that have repeats.

    Raises:
        NoWinnerError: no finalist is inside the limits.
    """
    ranked = _rank_finalists(finalists, budget, objectives)
    feasible = [finalist for finalist in ranked if broken_limit(finalist.metrics, objectives) is None]
    if not feasible:
        best = ranked[0]
        reason = broken_limit(best.metrics, objectives)
        raise NoWinnerError(f"no finalist is inside the limits: of the best, {best.trial.candidate.id}, {reason}; relax the limit")
    winner, repeated = feasible[0], [finalist for finalist in feasible if finalist.repeated]
    pooled = PooledVariance.of([finalist.fitness for finalist in repeated])
    if pooled is None:
        return Selection(winner.trial)
    ties = [each.trial for each in repeated if each is not winner and not _significantly_worse(each, winner, pooled)]
    return Selection(winner.trial, tuple(finalist.trial for finalist in repeated), tuple(ties))


@dataclass(slots=True, frozen=True)
class _Finalist:
    """A finalist: the mean of its metrics, and the fitness of each of its trainings."""

    trial: Trial
    metrics: Metrics
    fitness: tuple[float, ...]
    repeated: bool


def _rank_finalists(finalists: Sequence[Trial], budget: Budget, objectives: Sequence[Objective]) -> list[_Finalist]:
    """All finalists, best first."""
    rung = budget.rungs[-1]
    repeated = [trial.candidate.index for trial in finalists_to_repeat(finalists, budget, objectives)] if budget.repeats else []
    measured = [[report.metrics for report in trial.trainings(rung)] for trial in finalists]
    fitness = iter(weighted_fitness([metrics for each in measured for metrics in each], objectives))
    ranked = [
        _Finalist(trial, Metrics.mean(each), tuple(next(fitness) for _ in each), trial.candidate.index in repeated)
        for trial, each in zip(finalists, measured, strict=True)
    ]
    return sorted(ranked, key=lambda finalist: (not finalist.repeated, fmean(finalist.fitness)))


def _significantly_worse(other: _Finalist, winner: _Finalist, pooled: PooledVariance) -> bool:
    gap = fmean(other.fitness) - fmean(winner.fitness)
    return gap > pooled.least_significant_difference(len(other.fitness), len(winner.fitness))
