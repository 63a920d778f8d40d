"""Ray's own asynchronous successive halving (ASHA), which stops trials, in place of promotion: `scheduler = "asha"`.

A Tune trial is a candidate that climbs from rung to rung, until Ray's `ASHAScheduler` stops it because it is not among the best
1/factor of those who came to the rung before. Who that is depends on who finishes first: unlike promotion, the outcome changes
with the number of workers and with interruptions, and the first at a rung always continues. With 24 candidates, rungs of 50 and
300 and a strategy that does not improve, it costs 2,840 steps on average over many orders (2,200 to 3,450) where promotion of
six costs 2,700, and promotes some who are not among the best; with a strategy that improves over the run it costs more, since
each newcomer is better than those before it (3,720 to 5,110 were simulated).

Ray does not keep the scheduler's state. Here it receives all recorded scores again, in the order in which they were written, and
comes to the same decisions; no finished rung is trained again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from pydantic import TypeAdapter
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from codenas.experiment.config import ExperimentSetup
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


class ClimbTrainable(JobTrainable):
    """Trains a candidate through `rungs`, and reports at each of them what the scheduler judges it by."""

    def setup(self, config: dict[str, Any]) -> None:
        self._asked, self._left = config, list(config["rungs"])
        self._climb()

    def step(self) -> dict[str, Any]:
        """As that of a job; a rung that is reached ends the trial only if it is the last, or if the candidate failed."""
        result = super().step()
        outcome = _OUTCOME.validate_json(result["outcome"]) if "outcome" in result else None
        if isinstance(outcome, Report):
            result |= {_RUNG: outcome.rung, QUALITY: outcome.metrics.bits_per_byte}
            if self._left:
                self._climb()
                result["done"] = False
        return result

    def _climb(self) -> None:
        super().setup({**self._asked, "rung": self._left.pop(0)})


class AshaSearcher(PlanSearcher):
    """Hands out candidates of `plan` as whole climbs, and writes each rung that they reach into `history`.

    Proposals are those of the plan; how far a candidate climbs is the scheduler's affair. `climbing` are jobs of an earlier
    session that its scheduler had not stopped; each continues from its last rung.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        setup: ExperimentSetup,
        progress: Progress,
        retries: int,
        nodes: Callable[[], frozenset[str]],
        climbing: Sequence[Job],
        mirror: str | None = None,
    ) -> None:
        super().__init__(plan, history, setup, progress, retries, nodes, mirror=mirror)
        first = Budget(candidates=plan.budget.candidates, rungs=plan.budget.rungs[:1], promote=())
        self._proposing = replace(plan, budget=first)
        self._again = list(climbing)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        super().on_trial_result(trial_id, result)
        if "outcome" in result:
            started = self._running[trial_id]
            self._note(started.job, _OUTCOME.validate_json(result["outcome"]))
            self._running[trial_id] = replace(started, job=Job(started.job.candidate, self._rungs_from(started.job)[1]))

    def _config(self, job: Job) -> dict[str, Any]:
        return {**super()._config(job), "rungs": self._rungs_from(job)}

    def _rungs_from(self, job: Job) -> list[int]:
        return [rung for rung in self.plan.budget.rungs if rung >= job.rung]


def asha(budget: Budget, history: History) -> tuple[ASHAScheduler, list[Job]]:
    """The scheduler as it was when `history` ended, and who was climbing then, each with its next rung.

    Its milestones are the rungs of `budget`, which grow by one factor.
    """
    rungs = budget.rungs
    scheduler = ASHAScheduler(
        time_attr=_RUNG,
        metric=QUALITY,
        mode="min",
        grace_period=rungs[0],
        max_t=rungs[-1] + 1,  # Ray counts milestones by a logarithm that may fall short of a whole number
        reduction_factor=rungs[1] / rungs[0],
        brackets=1,
    )
    climbing: dict[int, Job] = {}
    for report in history.reports:
        trial: Any = SimpleNamespace(trial_id=f"recorded {report.index}")
        if report.rung == rungs[0]:
            scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        decision = scheduler.on_trial_result(None, trial, {_RUNG: report.rung, QUALITY: report.metrics.bits_per_byte})  # type: ignore[arg-type]
        climbing.pop(report.index, None)
        whole = history.trials[report.index]
        if decision == TrialScheduler.CONTINUE and report.rung < rungs[-1] and not whole.stopped:
            climbing[report.index] = Job(whole.candidate, rungs[rungs.index(report.rung) + 1])
    return scheduler, list(climbing.values())
