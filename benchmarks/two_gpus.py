"""Trials of known length on a cluster that says it has two GPUs: one trial on each at a time, and how much of the time both are busy.

No GPU is needed: Ray hands out what a node was started with. Every trial notes the GPU that it sees and when it held it.
"""

import itertools
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

from codenas.experiment.config import ExperimentSetup
from codenas.experiment.jobs import SearchJob
from codenas.metrics import Metrics
from codenas.processes import worker_pool
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Outcome, Report
from codenas.search.fitness import Objective
from codenas.search.result import SearchResult
from codenas.train.curve import Step
from tests.fakes import tiny_corpus
from tests.nodes import nodes
from tune_jobs.cluster.local import local_ray
from tune_jobs.launch import search
from tune_jobs.trainable import JobTrainable

BOUND = 0.9
STEP_SECONDS = 0.1
JOB = SearchJob(
    space="tiny",
    strategy="random",
    budget=Budget(candidates=24, rungs=(50, 150), promote=(6,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
)  # 24 x 5 s and 6 x 10 s: a minute and a half for two


class Timed(JobTrainable):
    """A trial whose steps take as long as they say."""

    @staticmethod
    def visible_gpus() -> tuple[str, ...]:
        """Two of one kind."""
        return ("GPU", "GPU")

    def work(self, setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        """See `JobTrainable.work`."""
        started, gpu, pause = time.time(), os.environ["CUDA_VISIBLE_DEVICES"], threading.Event()
        first = 0 if job.rung == JOB.budget.rungs[0] else JOB.budget.rungs[0]
        for step in range(first, job.rung):
            pause.wait(STEP_SECONDS)
            yield Step(step + 1, 0.0, STEP_SECONDS)
        setup.folder.mkdir(parents=True, exist_ok=True)
        held = {"gpu": gpu, "started": started, "ended": time.time()}
        (setup.folder / f"{job.candidate.id}-{job.rung}.json").write_text(json.dumps(held))
        metrics = Metrics(bits_per_byte=1 + job.candidate.index / 100, size_bytes=1, latency_ms_p50=1.0)
        return Report(
            index=job.candidate.index, rung=job.rung, steps=job.rung - first, metrics=metrics, seconds=0.0, checkpoint=job.candidate.id
        )


def searched(folder: Path, address: str) -> SearchResult:
    """What the search on the cluster at `address` found."""
    with local_ray(address=address) as scratch:
        return search(JOB, tiny_corpus(folder / "corpus"), folder / "search", scratch, Timed)[0]


def measure() -> dict[str, object]:
    """Busy is the time that trials held a GPU, over that of the search, from its begin: what starts is not busy."""
    with tempfile.TemporaryDirectory() as name, nodes() as cluster:
        folder = Path(name)
        cluster.start_head()
        cluster.add_worker(cpus=4, gpus=2)
        os.environ.update({key: value for key, value in cluster.environment.items() if key.startswith("RAY_")})
        with worker_pool(1) as pool:  # Ray reads the token when it is imported, which it was here
            result = pool.submit(searched, folder, cluster.address).result()
        held = [json.loads(path.read_text()) for path in (folder / "search" / "checkpoints").glob("*.json")]
    by_gpu: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in held:
        by_gpu[each["gpu"]].append((each["started"], each["ended"]))
    overlaps = sum(a[1] > b[0] for spans in by_gpu.values() for a, b in itertools.pairwise(sorted(spans)))
    busy = {gpu: round(sum(end - start for start, end in spans) / result.wall_seconds, 3) for gpu, spans in sorted(by_gpu.items())}
    return {
        "trials": len(held),
        "gpus": len(by_gpu),
        "trials_that_met_on_a_gpu": overlaps,
        "busy": busy,
        "within": len(busy) == 2 and overlaps == 0 and min(busy.values()) >= BOUND,
        "bound": BOUND,
        "elsewhere": {name: round(seconds / 2 / result.wall_seconds, 3) for name, seconds in result.elsewhere_seconds.items()},
    }
