"""The promotion rule: who goes on from one rung to the next."""

from collections.abc import Sequence
from functools import lru_cache

from codenas.search.candidate import Trial
from codenas.search.fitness import Objective, costs
from codenas.search.pareto import ranking


def promoted(trials: Sequence[Trial], rung: int, keep: int, objectives: Sequence[Objective]) -> list[Trial]:
    """The `keep` best trials at `rung`, best first: by non-dominated sort, then spread (multi-objective ASHA).

    A function of the reports at `rung` and of nothing else: refused and failed trials never go on, asking again gives the
    same answer, and later rungs change nothing. Ties go to the earlier candidate.
    """
    alive = sorted((trial for trial in trials if trial.report(rung) is not None), key=lambda trial: trial.candidate.index)
    points = tuple(costs(report.metrics, objectives) for trial in alive if (report := trial.report(rung)))
    return [alive[i] for i in _best(points, keep)]


@lru_cache(maxsize=16)  # every job of a rung asks again, and the answer stays the same
def _best(points: tuple[tuple[float, ...], ...], keep: int) -> list[int]:
    return ranking(points, keep)
