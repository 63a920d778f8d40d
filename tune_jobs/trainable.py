"""One Tune trial is one job of the plan: a candidate, trained from its last checkpoint to one rung."""

import logging
import os
import time
from collections.abc import Generator
from typing import Any

from ray import tune

from codenas.errors import UserError, device_failure
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.device import require_visible_gpu, visible_gpus
from codenas.experiment.mirror import mirrored
from codenas.experiment.rung import execute
from codenas.search.actions import Job
from codenas.search.candidate import Candidate, Outcome
from codenas.train.curve import Step
from tune_jobs.searcher import DEVICE_FAILURE
from tune_jobs.telemetry import GpuTelemetry
from tune_jobs.worktime import PREPARING, STORING

LOGGER = logging.getLogger("codenas")

CHUNK_SECONDS = 2.0  # a report costs some milliseconds: often enough for a progress line, seldom enough to cost nothing


class JobTrainable(tune.Trainable):
    """Runs `codenas.experiment.rung.execute` in chunks. Checkpoints are stored in the run's folder, not by Tune."""

    def setup(self, config: dict[str, Any]) -> None:
        job = Job(Candidate.model_validate_json(config["candidate"]), config["rung"])
        setup = ExperimentSetup.model_validate_json(config["setup"])
        self._steps = mirrored(self.work(setup, job), config.get("mirror"), job, setup.folder)
        self._telemetry = GpuTelemetry(setup.folder)
        self._job, self._trained, self._device_failed = job, False, False

    @staticmethod
    def visible_gpus() -> tuple[str, ...]:
        """The names of the GPUs of the node of this process. A test with GPUs that are none overrides it.

        Raises:
            ResourceError: torch sees none.
        """
        require_visible_gpu()
        return visible_gpus()

    def work(self, setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        """The training itself, step by step. A benchmark overrides it to measure the overhead of everything else."""
        return execute(setup, job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Reuse the process for the next job: a new one takes two to three seconds to start."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """End a job that did not reach its end, so that it holds no memory."""
        self._steps.close()

    def step(self) -> dict[str, Any]:
        """Train for `CHUNK_SECONDS`, or to the end; the last result carries the outcome.

        A `UserError` (full disk, damaged file) ends the search: the user must correct it. After an error that leaves the GPU unusable
        to this process, the process ends. Any other error is recorded as a failure of the candidate, because a retry would raise it again.
        """
        if self._device_failed:
            os._exit(1)  # at once: what runs at a normal exit would call the GPU
        result: dict[str, Any] = {"index": self._job.candidate.index, "steps": 0, "step_seconds": 0.0, "done": False}
        result |= {PREPARING: 0.0, STORING: 0.0}
        until = time.monotonic() + CHUNK_SECONDS
        while (before := time.monotonic()) < until:
            try:
                done = next(self._steps)
            except StopIteration as end:
                result[STORING if self._trained else PREPARING] += time.monotonic() - before
                return {**result, "done": True, "outcome": end.value.model_dump_json()}
            except UserError as error:
                return {**result, "done": True, "user_error": str(error)}
            except Exception as error:
                LOGGER.debug("unexpected error in a trial", exc_info=True)
                if (failure := device_failure(error)) is not None:
                    self._device_failed = True
                    return {**result, DEVICE_FAILURE: failure}
                reason = f"{type(error).__name__}: {error}"
                return {**result, "done": True, "outcome": self._job.failed(reason).model_dump_json()}
            result["steps"] += done.step <= self._job.rung  # later steps belong to the scoring branch
            result["step_seconds"] += done.seconds
            if not self._trained:
                result[PREPARING] += time.monotonic() - before - done.seconds
                self._trained = True
        self._telemetry.update()
        return result
