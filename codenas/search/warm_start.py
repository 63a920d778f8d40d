"""Trials of earlier searches with which a new one starts: the best designs are proposed first, and the strategy observes all trials.

They are copied into the folder of the new search when it is claimed, so later changes to the earlier runs have no effect.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Self

from pydantic import AliasChoices, Field

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.metrics import LATENCIES, STATIC, LatencyContext, Metrics
from codenas.search.candidate import Record, Trial
from codenas.search.fitness import Objective, broken_limit, costs
from codenas.search.strategies.base import Observation
from codenas.stats.pareto import front, ranking


class PriorTrial(Record):
    """A trial of the search of `run`, where its name is `candidate`.

    `metrics` are those after the first rung; None if it could not be trained.
    """

    run: str
    candidate: str
    design: Design
    metrics: Metrics | None = None


class WarmStart(Record):
    """What a search knows when it starts.

    Attributes:
        prior_trials: those of all earlier searches.
        proposed: their best designs, which become the first candidates, in this order.
        skipped: candidates of earlier searches that are outside this one's space.
    """

    schema_version: Literal[1] = 1
    prior_trials: tuple[PriorTrial, ...] = Field(
        (), validation_alias=AliasChoices("prior_trials", "lessons")
    )  # the latter in earlier versions
    proposed: tuple[Design, ...] = ()
    skipped: int = 0

    def comparable(self, contexts: Collection[LatencyContext | None], objectives: Sequence[Objective]) -> Self:
        """Without latencies measured in other `contexts`, and without their trials where latency has a weight."""
        decisive = any(each.metric in LATENCIES and each.weight > 0 for each in objectives)
        compared = (_comparable(trial, contexts, decisive) for trial in self.prior_trials)
        return self.model_copy(update={"prior_trials": tuple(trial for trial in compared if trial is not None)})

    def observations(self, objectives: Sequence[Objective]) -> list[Observation[Design]]:
        """The prior trials as strategies observe them. Indices are negative, those of no candidate of this search."""
        first = -len(self.prior_trials)
        return [Observation(first + i, trial.design, _costs(trial.metrics, objectives)) for i, trial in enumerate(self.prior_trials)]


def collect_prior_trials(
    runs: Mapping[str, Sequence[Trial]], rung: int, space: SearchSpace, objectives: Sequence[Objective], max_proposed: int
) -> WarmStart:
    """The trials of `runs` that are usable in a search with `objectives` over `space`, whose first rung is `rung`.

    The front of each run at the highest rung that it reached, inside the limits, is proposed: one design of each in turn, up to
    `max_proposed`.
    Refused candidates are left out: this search has its own limits.
    """
    settled = [(run, trial) for run, trials in runs.items() for trial in trials if trial.report(rung) or trial.failure]
    inside = [(run, trial) for run, trial in settled if space.contains(trial.candidate.design)]
    prior_trials = [
        PriorTrial(run=run, candidate=trial.candidate.id, design=trial.candidate.design, metrics=report.metrics if report else None)
        for run, trial in inside
        for report in [trial.report(rung)]
    ]
    fronts = [_front([trial for name, trial in inside if name == run], objectives) for run in runs]
    turns = (design for turn in itertools.zip_longest(*fronts) for design in turn if design is not None)
    proposed = list({design.digest: design for design in turns}.values())[:max_proposed]
    return WarmStart(prior_trials=_best_last(prior_trials, proposed), proposed=tuple(proposed), skipped=len(settled) - len(inside))


def _front(trials: Collection[Trial], objectives: Sequence[Objective]) -> list[Design]:
    """The Pareto front at the highest rung that was reached, well-spread designs first."""
    highest = max((trial.last.rung for trial in trials if trial.last), default=0)
    means = [
        (trial.candidate.design, Metrics.mean([report.metrics for report in trial.trainings(highest)]))
        for trial in trials
        if trial.report(highest)
    ]
    feasible = [(design, metrics) for design, metrics in means if broken_limit(metrics, objectives) is None]
    points = [costs(metrics, objectives) for _, metrics in feasible]
    return [feasible[i][0] for i in ranking(points, len(front(points)))]


def _comparable(trial: PriorTrial, contexts: Collection[LatencyContext | None], decisive: bool) -> PriorTrial | None:
    metrics = trial.metrics
    if metrics is None or metrics.latency_ms_p50 is None or metrics.latency_context in contexts:
        return trial
    without = metrics.model_copy(update={**dict.fromkeys(LATENCIES), "latency_context": None})
    return None if decisive else trial.model_copy(update={"metrics": without})


def _best_last(prior_trials: Sequence[PriorTrial], proposed: Sequence[Design]) -> tuple[PriorTrial, ...]:
    """The proposed ones last: strategies with ageing then keep the best for longest."""
    best = {design.digest for design in proposed}
    return tuple(sorted(prior_trials, key=lambda trial: trial.design.digest in best))


def _costs(metrics: Metrics | None, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The costs that a strategy observes; None if this search would refuse the design, or if an objective was not measured."""
    if metrics is None or broken_limit(Metrics(**{name: getattr(metrics, name) for name in STATIC}), objectives) is not None:
        return None
    if any(objective.weight > 0 and objective.value(metrics) is None for objective in objectives):
        return None
    return costs(metrics, objectives)
