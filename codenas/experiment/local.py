"""Sequential search in this process, without Ray."""

import logging
import time
from functools import partial
from pathlib import Path

from codenas.corpus import Corpus
from codenas.errors import ConfigError
from codenas.experiment.jobs import SearchJob
from codenas.experiment.messages import best_score_line, outcome_line, update_total
from codenas.experiment.mirror import Mirror, mirrored
from codenas.experiment.rung import execute
from codenas.experiment.session import run_resumable, search_progress
from codenas.experiment.training_states import TrainingStates
from codenas.search.actions import Job
from codenas.search.candidate import Outcome
from codenas.search.history import History
from codenas.search.loop import run_search
from codenas.search.plan import Plan
from codenas.search.result import Effort, SearchFolder, SearchResult

LOGGER = logging.getLogger("codenas")


def search_locally(job: SearchJob, corpus: Corpus, folder: Path, mirror: Mirror | None = None) -> tuple[SearchResult, History]:
    """Search in this process; the result equals that of `tune_jobs.launch.search`, bit for bit on a CPU.

    Resumable in the same folder, or from `mirror` in another.

    Raises:
        ConfigError: the job is not finished, and its scheduler needs Ray.
    """
    if job.scheduler == "asha" and SearchFolder(folder).result() is None:
        raise ConfigError('scheduler asha is Ray\'s own; leave --no-ray out, or search with scheduler = "promotion"')
    return run_resumable(job, corpus, SearchFolder(folder), partial(_run, url=mirror.url if mirror is not None else None), mirror)


def _run(job: SearchJob, plan: Plan, history: History, corpus: Corpus, home: SearchFolder, url: str | None) -> Effort:
    setup, progress, started = job.setup(corpus, home.checkpoints), search_progress(job, plan, history, 1), time.monotonic()
    states = TrainingStates(plan, home.checkpoints, Mirror(url) if url is not None else None)
    before, step_seconds = progress.done, 0.0

    def run_job(next_job: Job) -> Outcome:
        nonlocal step_seconds
        update_total(progress, plan, history)
        states.remove_unneeded(history)
        steps = mirrored(execute(setup, next_job), url, next_job, setup.folder)
        while True:
            try:
                step = next(steps)
                step_seconds += step.seconds
                progress.update(progress.done + (step.step <= next_job.rung), best_score_line(history))  # later ones only score it
            except StopIteration as end:
                outcome: Outcome = end.value
                LOGGER.info(outcome_line(next_job, outcome))
                return outcome

    run_search(plan, history, run_job)
    return Effort(1, time.monotonic() - started, progress.done - before, step_seconds)
