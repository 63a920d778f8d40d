"""Which trainings of a search may still be resumed: only their states are worth the space."""

from collections.abc import Sequence
from itertools import pairwise

from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective
from codenas.search.rungs import best_at_rung, promoted_to_rung

SPARE = 3  # times as many candidates as a rung promotes keep their states while its promotions are not decided


def resumable_rungs(trials: Sequence[Trial], budget: Budget, objectives: Sequence[Objective]) -> set[tuple[int, int]]:
    """(index, rung) of every training that may be resumed: the last of a candidate that may be promoted or win.

    While reports of a rung are missing, whom it promotes is known only in part. Under one objective a candidate that is not among the
    best so far cannot return; under several it can, but hardly from far behind: beyond `SPARE` times the promotions a candidate that does
    is trained from scratch. So there are at most `SPARE` states for every promotion, and one for each candidate that was promoted.
    Repeats with other seeds are never resumed.
    """
    remaining = [trial for trial in trials if trial.refusal is None]
    complete = len(remaining) >= budget.candidates
    found: set[tuple[int, int]] = set()
    for number, (below, _) in enumerate(pairwise(budget.rungs), 1):
        promoted: list[Trial] = []
        complete = complete and all(trial.settled(below) for trial in remaining)
        if complete:
            promoted, complete = promoted_to_rung(remaining, budget, number, objectives)
        if not complete:
            promoted += best_at_rung(remaining, below, _kept(budget, number, objectives), objectives)
            promoted += [trial for trial in remaining if _last_rung(trial) > below]
        remaining = list({trial.candidate.index: trial for trial in promoted}.values())
        found |= {(trial.candidate.index, below) for trial in remaining if _last_rung(trial) == below}
    top = budget.rungs[-1]
    return found | {(trial.candidate.index, top) for trial in remaining if _last_rung(trial) == top}


def _kept(budget: Budget, number: int, objectives: Sequence[Objective]) -> int:
    """How many keep their states while the promotions to rung `number` are not decided."""
    promotions = budget.promote[number - 1]
    exact = not budget.adaptive and sum(objective.weight > 0 for objective in objectives) == 1
    return promotions if exact else SPARE * promotions


def _last_rung(trial: Trial) -> int:
    """The highest rung that `trial` reached and may be trained beyond; 0 without one."""
    return trial.last.rung if trial.last is not None and not trial.stopped else 0
