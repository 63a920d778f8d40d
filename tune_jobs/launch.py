"""Run a search on a running Ray cluster, with resuming."""

import logging
import os
import shutil
import time
from functools import partial
from pathlib import Path

import psutil
import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from codenas.corpus import Corpus
from codenas.errors import BudgetError, ResourceError
from codenas.experiment.device import GIVEN_GPU
from codenas.experiment.estimate import estimate
from codenas.experiment.jobs import SearchJob, TrainJob
from codenas.experiment.mirror import Mirror
from codenas.experiment.session import run_resumable, search_progress
from codenas.files import require_free_space
from codenas.search.history import History
from codenas.search.plan import Plan
from codenas.search.result import Effort, SearchFolder, SearchResult
from tune_jobs.asha import AshaSearcher, MultiRungTrainable, asha
from tune_jobs.nodes import CapacityMonitor, live_nodes, place_trials
from tune_jobs.searcher import PlanSearcher
from tune_jobs.survey import with_gpu_names
from tune_jobs.trainable import JobTrainable

MEGABYTES_PER_TRIAL = 600  # a worker with torch, a model of some million parameters and its optimizer
DISK_MEGABYTES = 1_000  # at least


def search(
    job: SearchJob,
    corpus: Corpus,
    folder: Path,
    scratch: Path,
    trainable: type[JobTrainable] = JobTrainable,
    mirror: Mirror | None = None,
) -> tuple[SearchResult, History]:
    """Run the search of `job`; resumes from the history in `folder` or `mirror`.

    Without a mirror the folder must be one that every node can reach.

    Args:
        scratch: folder for Tune's temporary files, best on another disk than `folder`: Tune should not fail when that is full.

    Raises:
        RunError: the folder holds another search.
        NoWinnerError: no candidate reached the last rung, or none that did is inside the limits.
        BudgetError: no architecture can meet a limit.
        ResourceError: Ray is not initialized, or the machine has too little memory or disk.
    """
    if not ray.is_initialized():
        raise ResourceError("Ray is not initialized; call tune_jobs.cluster.local.local_ray or ray.init")
    work = partial(_run, scratch=scratch / "tune", trainable=trainable, mirror=mirror.url if mirror is not None else None)
    return run_resumable(job, corpus, SearchFolder(folder), work, mirror)


def _run(
    job: SearchJob,
    plan: Plan,
    history: History,
    corpus: Corpus,
    home: SearchFolder,
    scratch: Path,
    trainable: type[JobTrainable],
    mirror: str | None,
) -> Effort:
    nodes = live_nodes() if job.trial.gpus == 0 else with_gpu_names(live_nodes(), trainable.visible_gpus)
    placement = place_trials(job.trial, job.objectives, nodes)
    workers = sum(placement.slots(node) for node in nodes)
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    _require_memory(sum(placement.slots(node) for node in nodes if node.address == here))
    require_free_space(home.path, disk_megabytes(job, plan, workers, home.path))
    started = time.monotonic()
    progress = search_progress(job, plan, history, workers)
    device = GIVEN_GPU if placement.uses_gpus else "cpu"  # with `auto` a trial without a GPU would take one that is another's
    setup, retries = job.setup(corpus, home.checkpoints).model_copy(update={"device": device}), job.trial.retries
    scheduler: TrialScheduler | None = None
    if job.scheduler == "asha":
        scheduler, unfinished = asha(plan.budget, history)
        searcher: PlanSearcher = AshaSearcher(plan, history, setup, progress, retries, _live_ids, unfinished, mirror)
        trainable = MultiRungTrainable
    else:
        searcher = PlanSearcher(plan, history, setup, progress, retries, _live_ids, mirror=mirror)
    placed = tune.with_resources(trainable, placement.request())
    _run_tune(searcher, placed, scheduler, CapacityMonitor(searcher, placement, job.trial.patience), scratch)
    if searcher.error is not None:
        raise searcher.error
    ended = time.monotonic()
    overhead = searcher.times.overhead(workers, started, ended, searcher.step_seconds)
    return Effort(workers, ended - started, searcher.steps, searcher.step_seconds, overhead)


def disk_megabytes(job: SearchJob, plan: Plan, workers: int, folder: Path) -> int:
    """What a search with so many `workers` needs on the disk, beside what is in its `folder`: most of it are training states."""
    try:
        needed = estimate(job, TrainJob(), plan).disk_bytes(workers)
    except BudgetError:  # designs inside the limits are too rare for a sample
        needed = 0.0
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return max(DISK_MEGABYTES, round((needed - stored) / 1e6))


def _live_ids() -> frozenset[str]:
    return frozenset(node.id for node in live_nodes())


def _run_tune(
    searcher: PlanSearcher, trainable: type[tune.Trainable], scheduler: TrialScheduler | None, monitor: CapacityMonitor, scratch: Path
) -> None:
    """Run Tune until the searcher is finished. Tune's own files are deleted."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints tables at any verbosity
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C must reach the caller, who shuts Ray down
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # the scheduler's metric is reported only at rungs
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the searcher logs a dead process in one line, Ray would log a traceback
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=searcher, scheduler=scheduler, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.absolute()),
            verbose=0,
            callbacks=[monitor],
            stop=monitor,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_memory(workers: int) -> None:
    free = psutil.virtual_memory().available // 1_000_000
    needed = workers * MEGABYTES_PER_TRIAL
    if free < needed:
        raise ResourceError(
            f"{free} MB of memory are free and {workers} trials at a time need {needed} MB; close something or run fewer at a time"
        )
