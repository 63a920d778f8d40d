"""Tune asks, the plan answers. Ray runs the jobs: the schedule is that of `codenas.search.loop`, whoever finishes first."""

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ray.tune.search import Searcher

from codenas.errors import CodeNASError, UserError
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.messages import best_score_line, outcome_line, retry_line, update_total
from codenas.log import Progress
from codenas.search.actions import Job, Train, Wait
from codenas.search.candidate import Outcome
from codenas.search.history import History
from codenas.search.loop import next_action
from codenas.search.plan import Plan
from tune_jobs.telemetry import SearchTelemetry
from tune_jobs.worktime import WorkTime

LOGGER = logging.getLogger("codenas")
_TELL_EVERY_S = 1.0  # of telemetry, which walks through the whole history: ten times as often as Ray exports it
_LOOK_EVERY_S = 0.2
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


@dataclass(slots=True, frozen=True)
class _Started:
    """A job that was handed out, and the nodes that were up then."""

    job: Job
    nodes: frozenset[str]


class PlanSearcher(Searcher):
    """Hands out the jobs of `plan` and writes what became of them into `history`, in this process only.

    A job is a Tune trial of its own, so nothing is ever paused: schedulers that pause trials count them as live, resume
    losers and lose their own state with the driver (see docs of `ray.tune.schedulers`). Here the history is all the state.

    A job whose process died is handed out again, `retries` times: Tune's own retry gives a trial up at once when the process
    dies while it is being reused. When a node has gone since the job was handed out (`nodes` says who is up), it is the node's
    doing, and no mark against the candidate.

    Attributes:
        steps: training steps seen in this session.
        step_seconds: worker seconds spent in them.
        times: what else the workers' time went for.
        error: what ended the search early.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        setup: ExperimentSetup,
        progress: Progress,
        retries: int,
        nodes: Callable[[], frozenset[str]] = frozenset,
        notice_s: float = 30.0,  # five checks of Ray's, three seconds apart, and some patience
        mirror: str | None = None,
    ) -> None:
        super().__init__(metric="step_seconds", mode="min")
        self.plan, self.history, self._progress = plan, history, progress
        self._proposing = plan
        self._nodes = nodes
        self._shared = {"setup": setup.model_dump_json(), **({"mirror": mirror} if mirror is not None else {})}
        self._running: dict[str, _Started] = {}
        self._again: list[Job] = []
        self._retries, self._notice_s = retries, notice_s
        self._deaths = defaultdict[Job, list[frozenset[str]]](list)  # the nodes that were up when each attempt began
        self._telemetry = SearchTelemetry(plan, setup.folder)
        self._told, self._untold = -math.inf, 0
        self.steps = 0
        self.step_seconds = 0.0
        self.times = WorkTime()
        self.error: CodeNASError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The configuration of the next job; None while the open ones wait for running ones; FINISHED at the end."""
        if self.error is not None:
            return Searcher.FINISHED
        try:
            action = Train(self._again.pop()) if self._again else next_action(self._proposing, self.history, self._jobs())
        except CodeNASError as error:  # Tune would bury it in an error of its own
            self.error = error
            return Searcher.FINISHED
        if not isinstance(action, Train):
            return None if isinstance(action, Wait) else Searcher.FINISHED
        self._running[trial_id] = _Started(action.job, self._nodes())
        return self._config(action.job)

    def _config(self, job: Job) -> dict[str, Any]:
        """The configuration of the trial of `job`."""
        return {"candidate": job.candidate.model_dump_json(), "rung": job.rung, **self._shared}

    def _jobs(self) -> list[Job]:
        """Those that are running."""
        return [started.job for started in self._running.values()]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._count(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        started = self._running.pop(trial_id)
        if self.error is not None:  # Tune ends what still runs
            return
        job = started.job
        if result is not None and "user_error" in result:
            self.error = UserError(result["user_error"])
            return
        if error or result is None or "outcome" not in result:
            died = self._died(started)
            if died is None:
                return
            outcome: Outcome = died
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
        update_total(self._progress, self.plan, self.history)
        self._tell(0)
        LOGGER.info(outcome_line(job, outcome))

    def _died(self, started: _Started) -> Outcome | None:
        """The process of a job died: hand the job out again, unless its retries are used up."""
        job = started.job
        self._deaths[job].append(started.nodes)
        self._telemetry.lost()
        if self._own_deaths(job) > self._retries and len(started.nodes) > 1:
            self._await_notice(job)
        if (deaths := self._own_deaths(job)) > self._retries:
            return job.failed(f"its process died {deaths} times")
        self._again.append(job)
        LOGGER.warning(retry_line(job, "process" if started.nodes <= self._nodes() else "node"))
        return None

    def _own_deaths(self, job: Job) -> int:
        """How often the process of a job died on nodes that are all still up."""
        up = self._nodes()
        return sum(nodes <= up for nodes in self._deaths[job])

    def _await_notice(self, job: Job) -> None:
        """Give the cluster the time that it takes to see that a node has gone: the end of the processes there is known before."""
        until, pause = time.monotonic() + self._notice_s, threading.Event()
        while self._own_deaths(job) > self._retries and time.monotonic() < until:
            pause.wait(_LOOK_EVERY_S)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the history is on the disk."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the history is on the disk."""

    def _count(self, result: dict[str, Any]) -> None:
        self.steps += result["steps"]
        self.step_seconds += result["step_seconds"]
        self.times.note(result, time.monotonic())
        self._progress.update(self._progress.done + result["steps"], best_score_line(self.history))
        self._tell(result["steps"])

    def _tell(self, steps: int) -> None:
        self._untold += steps
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._telemetry.update(self.history, self._untold, self._progress.done, self._progress.eta_seconds())
            self._told, self._untold = now, 0
