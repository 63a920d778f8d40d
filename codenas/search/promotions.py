"""The next promotion.

Promotion waits for the whole rung, except for trials that no pending report can displace; adaptive promotion waits for the reports
that it depends on.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from codenas.search.actions import Job
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective
from codenas.search.rungs import best_at_rung, promoted_to_rung


def next_promotion(
    trials: Sequence[Trial],
    budget: Budget,
    objectives: Sequence[Objective],
    running: Collection[int],
    step_time: Callable[[Trial], float],
) -> Job | None:
    """The longest available job of the lowest rung; None if all depend on the candidates that are `running` (indices)."""
    contenders = list(trials)
    for number, (below, rung) in enumerate(pairwise(budget.rungs), 1):
        unsettled = sum(not trial.settled(below) for trial in contenders)
        contenders, complete = _guaranteed_promotions(contenders, budget, number, objectives, unsettled)
        # The longest first: a long job that starts last would leave the other workers idle.
        waiting = [trial for trial in contenders if not trial.settled(rung) and trial.candidate.index not in running]
        if waiting:
            return Job(max(waiting, key=step_time).candidate, rung)
        if not complete:
            return None
    return None


def _guaranteed_promotions(
    trials: list[Trial], budget: Budget, number: int, objectives: Sequence[Objective], unsettled: int
) -> tuple[list[Trial], bool]:
    """The `trials` that are promoted to rung `number` whatever the `unsettled` ones report, and whether the list is complete.

    Under one objective each unsettled trial can displace at most one; under several, one new report may change the whole order.
    """
    if not unsettled:
        return promoted_to_rung(trials, budget, number, objectives)
    deciding = sum(objective.weight > 0 for objective in objectives)
    keep = max(0, budget.at_least[number - 1] - unsettled) if deciding == 1 else 0
    return best_at_rung(trials, budget.rungs[number - 1], keep, objectives), False
