"""What earlier searches learned: the best of it is proposed first, and the strategy is shown all of it.

It is copied into the folder of the search that it warms when that is claimed: what becomes of the earlier ones changes nothing.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.metrics import STATIC, Metrics
from codenas.search.candidate import Record, Trial
from codenas.search.fitness import Objective, broken_limit, costs
from codenas.search.strategies.base import Observation
from codenas.stats.pareto import front, ranking


class Lesson(Record):
    """What became of a design in the search of `run`, where it was `candidate`.

    `metrics` are those after the first rung; None of what could not be trained.
    """

    run: str
    candidate: str
    design: Design
    metrics: Metrics | None = None


class WarmStart(Record):
    """What a search knows when it begins.

    Attributes:
        lessons: of all earlier searches.
        proposed: the best designs of these, which become the first candidates, in this order.
        skipped: candidates of earlier searches that are outside this one's space.
    """

    schema_version: Literal[1] = 1
    lessons: tuple[Lesson, ...] = ()
    proposed: tuple[Design, ...] = ()
    skipped: int = 0

    def observations(self, objectives: Sequence[Objective]) -> list[Observation[Design]]:
        """The lessons as strategies see them. Indices are negative: no candidate of this search has one."""
        first = -len(self.lessons)
        return [Observation(first + i, lesson.design, _costs(lesson.metrics, objectives)) for i, lesson in enumerate(self.lessons)]


def learn(runs: Mapping[str, Sequence[Trial]], rung: int, space: SearchSpace, objectives: Sequence[Objective], most: int) -> WarmStart:
    """What the trials of `runs` teach a search with `objectives` over `space`, whose first rung is `rung`.

    Of each run the front at the highest rung that it reached, inside the limits, is proposed: in turns, `most` in all.
    Refused candidates teach nothing: this search has its own limits.
    """
    settled = [(run, trial) for run, trials in runs.items() for trial in trials if trial.report(rung) or trial.failure]
    inside = [(run, trial) for run, trial in settled if space.contains(trial.candidate.design)]
    lessons = [
        Lesson(run=run, candidate=trial.candidate.id, design=trial.candidate.design, metrics=report.metrics if report else None)
        for run, trial in inside
        for report in [trial.report(rung)]
    ]
    fronts = [_front([trial for name, trial in inside if name == run], objectives) for run in runs]
    turns = (design for turn in itertools.zip_longest(*fronts) for design in turn if design is not None)
    proposed = list({design.digest: design for design in turns}.values())[:most]
    return WarmStart(lessons=_best_last(lessons, proposed), proposed=tuple(proposed), skipped=len(settled) - len(inside))


def _front(trials: Collection[Trial], objectives: Sequence[Objective]) -> list[Design]:
    """The Pareto front at the highest rung that was reached, spread first."""
    highest = max((trial.last.rung for trial in trials if trial.last), default=0)
    means = [
        (trial.candidate.design, Metrics.mean([report.metrics for report in trial.trainings(highest)]))
        for trial in trials
        if trial.report(highest)
    ]
    able = [(design, metrics) for design, metrics in means if broken_limit(metrics, objectives) is None]
    points = [costs(metrics, objectives) for _, metrics in able]
    return [able[i][0] for i in ranking(points, len(front(points)))]


def _best_last(lessons: Sequence[Lesson], proposed: Sequence[Design]) -> tuple[Lesson, ...]:
    """Strategies that let the old die keep the best for longest."""
    best = {design.digest for design in proposed}
    return tuple(sorted(lessons, key=lambda lesson: lesson.design.digest in best))


def _costs(metrics: Metrics | None, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """What a strategy is shown of a lesson: no costs of what this search would refuse, or where one was not measured."""
    if metrics is None or broken_limit(Metrics(**{name: getattr(metrics, name) for name in STATIC}), objectives) is not None:
        return None
    if any(objective.weight > 0 and objective.value(metrics) is None for objective in objectives):
        return None
    return costs(metrics, objectives)
