"""Ray's own asynchronous successive halving (ASHA), which stops trials, in place of promotion: `scheduler = "asha"`.

A Tune trial is a candidate that trains through the rungs until Ray's `ASHAScheduler` stops it, because it is not among the best
1/factor of the candidates that reached the rung so far. Unlike promotion, the outcome depends on the order in which trials finish,
so on the number of workers and on interruptions, and the first candidate at a rung always continues. With 24 candidates, rungs of 50 and
300 and a strategy that does not improve, it costs 2,840 steps on average over many orders (2,200 to 3,450) where promotion of
six costs 2,700, and promotes some candidates that are not among the best; a strategy that improves over the run costs more, because
later candidates are better than earlier ones (3,720 to 5,110 were simulated).

Ray does not store the scheduler's state. A resumed search replays all recorded scores in their original order, which leads to the
same decisions; no finished rung is trained again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from pydantic import TypeAdapter
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from codenas.experiment.config import ExperimentSetup
from codenas.experiment.mirror import Mirror
from codenas.experiment.training_states import TrainingStates
from codenas.log import Progress
from codenas.metrics import QUALITY
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Outcome, Report
from codenas.search.history import History
from codenas.search.plan import Plan
from tune_jobs.searcher import PlanSearcher
from tune_jobs.trainable import JobTrainable

_RUNG = "rung"
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


class MultiRungTrainable(JobTrainable):
    """Trains a candidate through `rungs`, and reports the scheduler's metric at each of them."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trial_config, self._rungs_left = config, list(config["rungs"])
        self._start_next_rung()

    def step(self) -> dict[str, Any]:
        """As `JobTrainable.step`, but the trial ends only at the last rung, or if the candidate failed."""
        result = super().step()
        outcome = _OUTCOME.validate_json(result["outcome"]) if "outcome" in result else None
        if isinstance(outcome, Report):
            result |= {_RUNG: outcome.rung, QUALITY: outcome.metrics.bits_per_byte}
            if self._rungs_left:
                self._start_next_rung()
                result["done"] = False
        return result

    def _start_next_rung(self) -> None:
        super().setup({**self._trial_config, "rung": self._rungs_left.pop(0)})


class AshaSearcher(PlanSearcher):
    """Suggests candidates of `plan` with all their rungs, and records each rung that they reach in `history`.

    The plan proposes candidates, the scheduler stops them. `unfinished` are jobs of an earlier session whose candidates were
    not stopped; each continues from its last rung.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        setup: ExperimentSetup,
        progress: Progress,
        retries: int,
        nodes: Callable[[], frozenset[str]],
        unfinished: Sequence[Job],
        mirror: str | None = None,
    ) -> None:
        super().__init__(plan, history, setup, progress, retries, nodes, mirror=mirror)
        first = Budget(candidates=plan.budget.candidates, rungs=plan.budget.rungs[:1], promote=())
        self._proposal_plan = replace(plan, budget=first)
        self._retry_queue = list(unfinished)
        self._states = TrainingStates(plan, setup.folder, Mirror(mirror) if mirror is not None else None, stopped_by_ray=True)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        super().on_trial_result(trial_id, result)
        if "outcome" in result:
            started = self._running[trial_id]
            self._record(started.job, _OUTCOME.validate_json(result["outcome"]))
            self._running[trial_id] = replace(started, job=Job(started.job.candidate, self._rungs_from(started.job)[1]))

    def _config(self, job: Job) -> dict[str, Any]:
        return {**super()._config(job), "rungs": self._rungs_from(job)}

    def _rungs_from(self, job: Job) -> list[int]:
        return [rung for rung in self.plan.budget.rungs if rung >= job.rung]


def asha(budget: Budget, history: History) -> tuple[ASHAScheduler, list[Job]]:
    """The scheduler in its state at the end of `history`, and the next job of every unfinished candidate.

    The rungs of `budget` are its milestones; they must grow by a constant factor.
    """
    rungs = budget.rungs
    scheduler = ASHAScheduler(
        time_attr=_RUNG,
        metric=QUALITY,
        mode="min",
        grace_period=rungs[0],
        max_t=rungs[-1] + 1,  # Ray computes the number of milestones with a logarithm that rounding can make too small
        reduction_factor=rungs[1] / rungs[0],
        brackets=1,
    )
    unfinished: dict[int, Job] = {}
    for report in history.reports:
        trial: Any = SimpleNamespace(trial_id=f"recorded {report.index}")
        if report.rung == rungs[0]:
            scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        decision = scheduler.on_trial_result(None, trial, {_RUNG: report.rung, QUALITY: report.metrics.bits_per_byte})  # type: ignore[arg-type]
        unfinished.pop(report.index, None)
        candidate = history.trials[report.index]
        if decision == TrialScheduler.CONTINUE and report.rung < rungs[-1] and not candidate.stopped:
            unfinished[report.index] = Job(candidate.candidate, rungs[rungs.index(report.rung) + 1])
    return scheduler, list(unfinished.values())
