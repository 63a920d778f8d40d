"""The search algorithm for Ray Tune: suggests the jobs of a plan, in the schedule of `codenas.search.loop`."""

import logging
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ray.tune.search import Searcher

from codenas.errors import CodeNASError, UserError
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.messages import best_score_line, device_retry_line, outcome_line, retry_line, update_total
from codenas.experiment.mirror import Mirror
from codenas.experiment.training_states import TrainingStates
from codenas.log import Progress
from codenas.search.actions import Job, Train, Wait
from codenas.search.candidate import Outcome
from codenas.search.history import History
from codenas.search.loop import next_action
from codenas.search.plan import Plan
from tune_jobs.telemetry import SearchTelemetry
from tune_jobs.worktime import WorkTime

LOGGER = logging.getLogger("codenas")
DEVICE_FAILURE = "device_failure"  # key of a result: what the GPU of a process failed with; the process ends when it is asked for more
_TELEMETRY_INTERVAL_S = 1.0  # an update reads the whole history; Ray exports metrics every ten seconds
_CHECK_INTERVAL_S = 0.2
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


@dataclass(slots=True, frozen=True)
class _RunningJob:
    """A job that is running, and the nodes that were alive when it started.

    `device_failure` is what its GPU has failed with: its process ends.
    """

    job: Job
    nodes: frozenset[str]
    device_failure: str | None = None


class PlanSearcher(Searcher):
    """Suggests the jobs of `plan` and records their outcomes in `history`, in the driver process only.

    Every job is a Tune trial of its own, so no trial is ever paused: Tune's schedulers that pause trials count them as live, resume
    stopped ones and lose their state with the driver (see `ray.tune.schedulers`). Here the history is the only state.

    A job whose process died is retried up to `retries` times; Tune's own retry does not work when a process dies while it is
    being reused. Deaths on nodes that have failed (`nodes` returns the ids of live ones) do not count. A job whose GPU failed is
    retried once: that may be the fault of an earlier kernel or of the device, and twice it is the candidate's.

    Attributes:
        steps: training steps in this session.
        step_seconds: worker seconds spent in them.
        times: worker time outside of them.
        error: the error that ended the search early.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        setup: ExperimentSetup,
        progress: Progress,
        retries: int,
        nodes: Callable[[], frozenset[str]] = frozenset,
        node_timeout_s: float = 30.0,  # Ray checks a node five times, three seconds apart
        mirror: str | None = None,
    ) -> None:
        super().__init__(metric="step_seconds", mode="min")
        self.plan, self.history, self._progress = plan, history, progress
        self._proposal_plan = plan
        self._nodes = nodes
        self._shared = {"setup": setup.model_dump_json(), **({"mirror": mirror} if mirror is not None else {})}
        self._running: dict[str, _RunningJob] = {}
        self._retry_queue: list[Job] = []
        self._retries, self._node_timeout_s = retries, node_timeout_s
        self._deaths = defaultdict[Job, list[frozenset[str]]](list)  # the nodes that were up when each attempt began
        self._device_failures = Counter[Job]()
        self._states = TrainingStates(plan, setup.folder, Mirror(mirror) if mirror is not None else None)
        self._telemetry = SearchTelemetry(plan, setup.folder)
        self._last_telemetry, self._unreported_steps = -math.inf, 0
        self.steps = 0
        self.step_seconds = 0.0
        self.times = WorkTime()
        self.error: CodeNASError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The configuration of the next job; None while the next ones depend on running ones; FINISHED at the end."""
        if self.error is not None:
            return Searcher.FINISHED
        try:
            action = Train(self._retry_queue.pop()) if self._retry_queue else next_action(self._proposal_plan, self.history, self._jobs())
        except CodeNASError as error:  # Tune would wrap it in its own error
            self.error = error
            return Searcher.FINISHED
        if not isinstance(action, Train):
            return None if isinstance(action, Wait) else Searcher.FINISHED
        self._running[trial_id] = _RunningJob(action.job, self._nodes())
        return self._config(action.job)

    def _config(self, job: Job) -> dict[str, Any]:
        """The configuration of the trial of `job`."""
        return {"candidate": job.candidate.model_dump_json(), "rung": job.rung, **self._shared}

    def _jobs(self) -> list[Job]:
        """The running jobs."""
        return [started.job for started in self._running.values()]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._count(result)
        if DEVICE_FAILURE in result:
            self._running[trial_id] = replace(self._running[trial_id], device_failure=result[DEVICE_FAILURE])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        started = self._running.pop(trial_id)
        if self.error is not None:  # Tune stops running trials
            return
        job = started.job
        if result is not None and "user_error" in result:
            self.error = UserError(result["user_error"])
            return
        if error or result is None or "outcome" not in result:
            failure = self._retry_or_fail(started)
            if failure is None:
                return
            outcome: Outcome = failure
        else:
            self._count(result)
            outcome = _OUTCOME.validate_json(result["outcome"])
        self._record(job, outcome)

    def _record(self, job: Job, outcome: Outcome) -> None:
        try:
            self.history.add_outcome(outcome)
            self._states.remove_unneeded(self.history)
        except CodeNASError as error:  # as above: a full disk must end the search, not Tune
            self.error = error
            return
        update_total(self._progress, self.plan, self.history)
        self._update_telemetry(0)
        LOGGER.info(outcome_line(job, outcome))

    def _retry_or_fail(self, started: _RunningJob) -> Outcome | None:
        """The process of a job died: queue the job again, or return a failure if its retries are used up."""
        job = started.job
        self._telemetry.process_died()
        if started.device_failure is not None:
            return self._retry_device_failure(job, started.device_failure)
        self._deaths[job].append(started.nodes)
        if self._deaths_on_live_nodes(job) > self._retries and len(started.nodes) > 1:
            self._wait_for_node_failure(job)
        if (deaths := self._deaths_on_live_nodes(job)) > self._retries:
            return job.failed(f"its process died {deaths} times")
        self._retry_queue.append(job)
        LOGGER.warning(retry_line(job, "process" if started.nodes <= self._nodes() else "node"))
        return None

    def _retry_device_failure(self, job: Job, reason: str) -> Outcome | None:
        """The GPU of a job failed: queue the job again, or return a failure if it did so in another process before."""
        self._device_failures[job] += 1
        if self._device_failures[job] > 1:
            return job.failed(f"{reason} (in {self._device_failures[job]} processes)")
        self._retry_queue.append(job)
        LOGGER.warning(device_retry_line(job, reason))
        return None

    def _deaths_on_live_nodes(self, job: Job) -> int:
        """How often the process of a job died while no node failed."""
        up = self._nodes()
        return sum(nodes <= up for nodes in self._deaths[job])

    def _wait_for_node_failure(self, job: Job) -> None:
        """Wait until Ray may have detected a node failure: it reports dead processes before dead nodes."""
        until, pause = time.monotonic() + self._node_timeout_s, threading.Event()
        while self._deaths_on_live_nodes(job) > self._retries and time.monotonic() < until:
            pause.wait(_CHECK_INTERVAL_S)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the history is on the disk."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the history is on the disk."""

    def _count(self, result: dict[str, Any]) -> None:
        self.steps += result["steps"]
        self.step_seconds += result["step_seconds"]
        self.times.add(result, time.monotonic())
        self._progress.update(self._progress.done + result["steps"], best_score_line(self.history))
        self._update_telemetry(result["steps"])

    def _update_telemetry(self, steps: int) -> None:
        self._unreported_steps += steps
        now = time.monotonic()
        if now - self._last_telemetry >= _TELEMETRY_INTERVAL_S:
            self._telemetry.update(self.history, self._unreported_steps, self._progress.done, self._progress.eta_seconds())
            self._last_telemetry, self._unreported_steps = now, 0
