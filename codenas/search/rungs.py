"""The promotion rule: which candidates are promoted from one rung to the next."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from codenas.arch.cost import body_parameters
from codenas.metrics import QUALITY
from codenas.search.adaptive import Screened, known_part, promotion
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective, costs
from codenas.stats.pareto import ranking


def promoted(trials: Sequence[Trial], rung: int, keep: int, objectives: Sequence[Objective]) -> list[Trial]:
    """The `keep` best trials at `rung`, best first: by non-dominated sort, then spread (multi-objective ASHA).

    A function of the reports at `rung` and of nothing else: refused and failed trials are never promoted, asking again gives the
    same answer, and later rungs change nothing. Ties go to the earlier candidate.
    """
    alive = sorted((trial for trial in trials if trial.report(rung) is not None), key=lambda trial: trial.candidate.index)
    points = tuple(costs(report.metrics, objectives) for trial in alive if (report := trial.report(rung)))
    return [alive[i] for i in _best(points, keep)]


@lru_cache(maxsize=16)  # every job of a rung asks again, and the answer stays the same
def _best(points: tuple[tuple[float, ...], ...], keep: int) -> list[int]:
    return ranking(points, keep)


def promoted_to(trials: Sequence[Trial], budget: Budget, number: int, objectives: Sequence[Objective]) -> tuple[list[Trial], bool]:
    """Those of `trials`, all settled below, that are promoted to rung `number` (1 is the second rung), and whether that is all of them.

    The first `at_least` are those of `promoted`; beyond them an adaptive budget sends on who is likeliest to win, which the reports
    so far decide: until they are there it is not known which trials follow.
    """
    below, rung = budget.rungs[number - 1 : number + 1]
    least, most = budget.at_least[number - 1], budget.promote[number - 1]
    if least == most:
        return promoted(trials, below, most, objectives), True
    order = promoted(trials, below, len(trials), objectives)

    def high(position: int) -> float | None:
        trial = order[position]
        return _learned(trial, rung, objectives) if trial.settled(rung) else None

    found = promotion(_screened(order, below, objectives), range(len(order)), least, most, high)
    return [order[position] for position in found.chosen], found.closed


def narrowed(budget: Budget, trials: Sequence[Trial], objectives: Sequence[Objective]) -> Budget:
    """`budget` with as many promotions as there are or will be, where that is decided; adaptive as long as it is not."""
    promote, least = list(budget.promote), list(budget.at_least)
    going = [trial for trial in trials if trial.refusal is None]
    entered = len(going) >= budget.candidates
    for number, (below, _) in enumerate(pairwise(budget.rungs), 1):
        if not entered or not all(trial.settled(below) for trial in going):
            break
        going, closed = promoted_to(going, budget, number, objectives)
        if not closed:
            break
        promote[number - 1] = least[number - 1] = min(budget.promote[number - 1], len(going))
    return budget.model_copy(update={"promote": tuple(promote), "least": tuple(least)}) if budget.adaptive else budget


def _learned(trial: Trial, rung: int, objectives: Sequence[Objective]) -> float:
    """The cost that training decides, after `rung` steps; infinite for one that failed on the way."""
    report = trial.report(rung)
    return next(each.cost(report.metrics) for each in objectives if each.metric == QUALITY) if report is not None else math.inf


def _screened(trials: Sequence[Trial], rung: int, objectives: Sequence[Objective]) -> Screened:
    deciding = [objective for objective in objectives if objective.weight > 0]
    points = [costs(report.metrics, objectives) for trial in trials if (report := trial.report(rung))]
    learned = next(i for i, objective in enumerate(deciding) if objective.metric == QUALITY)
    return Screened(
        low=[point[learned] for point in points],
        capacity=[body_parameters(trial.candidate.design.stored_arch) for trial in trials],
        known=known_part(points, [objective.weight for objective in deciding], learned),
    )
