"""Tune asks, the plan answers. Ray is the muscle: the schedule is that of `codenas.search.loop`, whoever finishes first."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ray.tune.search import Searcher

from codenas.errors import CodeNASError, UserError
from codenas.experiment import ExperimentSetup
from codenas.log import Progress
from codenas.search.candidate import Failure, Outcome
from codenas.search.history import History
from codenas.search.plan import Job, Plan
from tune_jobs.telemetry import SearchTelemetry
from tune_jobs.telling import best, bound, told, told_again

LOGGER = logging.getLogger("codenas")
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


class PlanSearcher(Searcher):
    """Hands out the jobs of `plan` and writes what became of them into `history`, in this process only.

    A job is a Tune trial of its own, so nothing is ever paused: schedulers that pause trials count them as live, resume
    losers and lose their own state with the driver (see docs of `ray.tune.schedulers`). Here the history is all the state.

    A job whose process died is handed out again, `retries` times: Tune's own retry gives a trial up at once when the process
    dies while it is being reused.

    Attributes:
        steps: training steps seen in this session.
        step_seconds: worker seconds spent in them.
        error: what ended the search early.
    """

    def __init__(self, plan: Plan, history: History, setup: ExperimentSetup, progress: Progress, retries: int) -> None:
        super().__init__(metric="step_seconds", mode="min")
        self.plan, self.history, self._setup, self._progress = plan, history, setup, progress
        self._running: dict[str, Job] = {}
        self._again: list[Job] = []
        self._retries, self._deaths = retries, Counter[Job]()
        self._telemetry = SearchTelemetry(plan, setup.folder)
        self.steps = 0
        self.step_seconds = 0.0
        self.error: CodeNASError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The configuration of the next job; None while the open ones wait for running ones; FINISHED at the end."""
        if self.error is not None:
            return Searcher.FINISHED
        try:
            job = self._again.pop() if self._again else self._next_job()
        except CodeNASError as error:  # Tune would bury it in an error of its own
            self.error = error
            return Searcher.FINISHED
        if job is None:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = job
        return self._config(job)

    def _config(self, job: Job) -> dict[str, Any]:
        """What the trial of `job` is told."""
        return {"candidate": job.candidate.model_dump_json(), "rung": job.rung, "setup": self._setup.model_dump_json()}

    def _next_job(self) -> Job | None:
        return self.plan.next_job(self.history, {job.candidate.index for job in self._running.values()})

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._count(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._running.pop(trial_id)
        if result is not None and "user_error" in result:
            self.error = UserError(result["user_error"])
            return
        if error or result is None or "outcome" not in result:
            self._deaths[job] += 1
            self._telemetry.lost()
            if self._deaths[job] <= self._retries:
                self._again.append(job)
                LOGGER.warning(told_again(job))
                return
            outcome: Outcome = Failure(index=job.candidate.index, rung=job.rung, reason=f"its process died {self._deaths[job]} times")
        else:
            self._count(result)
            outcome = _OUTCOME.validate_json(result["outcome"])
        self._note(job, outcome)

    def _note(self, job: Job, outcome: Outcome) -> None:
        try:
            self.history.record(outcome)
        except CodeNASError as error:  # as above: a full disk must end the search, not Tune
            self.error = error
            return
        bound(self._progress, self.plan, self.history)
        self._tell(0)
        LOGGER.info(told(job, outcome))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the history is on the disk."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the history is on the disk."""

    def _count(self, result: dict[str, Any]) -> None:
        self.steps += result["steps"]
        self.step_seconds += result["step_seconds"]
        self._progress.update(self._progress.done + result["steps"], best(self.history))
        self._tell(result["steps"])

    def _tell(self, steps: int) -> None:
        self._telemetry.update(self.history, steps, self._progress.done, self._progress.eta_seconds())
