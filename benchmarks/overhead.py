"""What a trial costs beside its work: a thousand trials that do nothing, through searcher, Tune and reused processes on a Ray of our own.

`plan_ms_per_trial` is the same search in a loop: what the plan and the history take of it.
"""

import random
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from codenas.experiment.config import ExperimentSetup
from codenas.experiment.jobs import SearchJob
from codenas.metrics import Metrics
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Outcome, Report
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.loop import run_search
from codenas.train.curve import Step
from tests.fakes import tiny_corpus
from tune_jobs.cluster.local import local_ray
from tune_jobs.launch import search
from tune_jobs.trainable import JobTrainable

BOUND_MS = 50.0
JOB = SearchJob(
    space="tiny",
    strategy="random",
    budget=Budget(candidates=800, rungs=(1, 2), promote=(200,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
)
TRIALS = 1_000


class NoWork(JobTrainable):
    """A trial that knows its outcome at once."""

    def work(self, setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        """See `JobTrainable.work`."""
        return _nothing(job)


def measure() -> dict[str, object]:
    """Wall time over trials, from the first outcome to the last: the start of Ray and of its processes is reported separately."""
    with tempfile.TemporaryDirectory() as folder, local_ray(cpus=2) as scratch:
        started, cpu = time.time(), time.process_time()
        _, history = search(JOB, tiny_corpus(Path(folder, "corpus")), Path(folder, "search"), scratch, NoWork)
        first, last, cpu = *_span(history), time.process_time() - cpu
    each = 1000 * (last - first) / (TRIALS - 1)
    loop = _loop()
    return {
        "trials": sum(len(trial.reports) for trial in history.trials),
        "overhead_ms_per_trial": round(each, 1),
        "within": each < BOUND_MS,
        "bound_ms": BOUND_MS,
        "driver_cpu_ms_per_trial": round(1000 * cpu / TRIALS, 1),  # of all its threads
        "start_seconds": round(first - started, 1),
        "plan_ms_per_trial": round(loop, 2),
    }


def _span(history: History) -> tuple[float, float]:
    """When the first outcome was known and when the last, as their trials saw it."""
    times = [report.seconds for trial in history.trials for report in trial.reports]
    return min(times), max(times)


def _loop() -> float:
    """Milliseconds of a trial in the loop without Ray, the history in memory."""
    started = time.perf_counter()
    run_search(JOB.plan(300), History(), _outcome)
    return 1000 * (time.perf_counter() - started) / TRIALS


def _nothing(job: Job) -> Generator[Step, None, Outcome]:
    steps: Sequence[Step] = ()
    yield from steps
    return _outcome(job)


def _outcome(job: Job) -> Outcome:
    """A report as good as chance has it; `seconds` holds the time of day, for `_span`."""
    score = random.Random(job.candidate.index).uniform(1, 3)
    metrics = Metrics(bits_per_byte=score, size_bytes=1, latency_ms_p50=1.0)
    return Report(index=job.candidate.index, rung=job.rung, steps=1, metrics=metrics, seconds=time.time(), checkpoint=job.candidate.id)
