"""The promotion rule: which candidates are promoted from one rung to the next."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from codenas.arch.cost import body_parameters
from codenas.metrics import QUALITY
from codenas.search.adaptive import Contenders, choose_promotions, static_costs
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective, costs
from codenas.stats.pareto import ranking


def best_at_rung(trials: Sequence[Trial], rung: int, keep: int, objectives: Sequence[Objective]) -> list[Trial]:
    """The `keep` best trials at `rung`, best first: by non-dominated sort, then spread (multi-objective ASHA).

    A function of the reports at `rung` and of nothing else: refused and failed trials are never promoted, asking again gives the
    same answer, and later rungs change nothing. Ties go to the earlier candidate.
    """
    reported = sorted((trial for trial in trials if trial.report(rung) is not None), key=lambda trial: trial.candidate.index)
    points = tuple(costs(report.metrics, objectives) for trial in reported if (report := trial.report(rung)))
    return [reported[i] for i in _best(points, keep)]


@lru_cache(maxsize=16)  # every job of a rung asks for the same ranking
def _best(points: tuple[tuple[float, ...], ...], keep: int) -> list[int]:
    return ranking(points, keep)


def promoted_to_rung(trials: Sequence[Trial], budget: Budget, number: int, objectives: Sequence[Objective]) -> tuple[list[Trial], bool]:
    """The trials that are promoted to rung `number` (1 is the second rung) out of `trials`, all settled below; and whether they are all.

    The first `at_least` are those of `best_at_rung`; an adaptive budget then promotes those that are most likely to win,
    which depends on reports at the higher rung: the list is incomplete until these are there.
    """
    below, rung = budget.rungs[number - 1 : number + 1]
    min_promoted, max_promoted = budget.at_least[number - 1], budget.promote[number - 1]
    if min_promoted == max_promoted:
        return best_at_rung(trials, below, max_promoted, objectives), True
    order = best_at_rung(trials, below, len(trials), objectives)

    def high_rung_score(position: int) -> float | None:
        trial = order[position]
        return _trained_cost(trial, rung, objectives) if trial.settled(rung) else None

    found = choose_promotions(_contenders(order, below, objectives), range(len(order)), min_promoted, max_promoted, high_rung_score)
    return [order[position] for position in found.chosen], found.complete


def with_decided_promotions(budget: Budget, trials: Sequence[Trial], objectives: Sequence[Objective]) -> Budget:
    """`budget` with the final number of promotions of each rung where it is decided; adaptive elsewhere."""
    promote, least = list(budget.promote), list(budget.at_least)
    remaining = [trial for trial in trials if trial.refusal is None]
    entered = len(remaining) >= budget.candidates
    for number, (below, _) in enumerate(pairwise(budget.rungs), 1):
        if not entered or not all(trial.settled(below) for trial in remaining):
            break
        remaining, complete = promoted_to_rung(remaining, budget, number, objectives)
        if not complete:
            break
        promote[number - 1] = least[number - 1] = min(budget.promote[number - 1], len(remaining))
    return budget.model_copy(update={"promote": tuple(promote), "least": tuple(least)}) if budget.adaptive else budget


def _trained_cost(trial: Trial, rung: int, objectives: Sequence[Objective]) -> float:
    """The cost that training determines, after `rung` steps; infinite for one that failed on the way."""
    report = trial.report(rung)
    return next(each.cost(report.metrics) for each in objectives if each.metric == QUALITY) if report is not None else math.inf


def _contenders(trials: Sequence[Trial], rung: int, objectives: Sequence[Objective]) -> Contenders:
    deciding = [objective for objective in objectives if objective.weight > 0]
    points = [costs(report.metrics, objectives) for trial in trials if (report := trial.report(rung))]
    trained = next(i for i, objective in enumerate(deciding) if objective.metric == QUALITY)
    return Contenders(
        low_rung_scores=[point[trained] for point in points],
        capacities=[body_parameters(trial.candidate.design.stored_arch) for trial in trials],
        static_costs=static_costs(points, [objective.weight for objective in deciding], trained),
    )
