"""Run a search on the Ray that is up: resumable from its folder, one result at the end."""

import logging
import os
import shutil
import time
from pathlib import Path

import psutil
import ray
from pydantic import BaseModel, ConfigDict
from ray import tune

from codenas.corpus import Corpus
from codenas.errors import ResourceError, RunError
from codenas.experiment import ExperimentSetup
from codenas.files import require_free_space, write_atomic
from codenas.log import Progress
from codenas.search.candidate import Trial
from codenas.search.fidelity import Fidelity, fidelity
from codenas.search.fitness import weighted_fitness
from codenas.search.history import History
from codenas.search.plan import Plan, check_reachable
from tune_jobs.config import SearchJob
from tune_jobs.searcher import PlanSearcher
from tune_jobs.trainable import JobTrainable

LOGGER = logging.getLogger("codenas")
MEGABYTES_PER_TRIAL = 600  # a worker with torch, a model of some million parameters and its optimizer
HISTORY, RESULT, JOB = "trials.jsonl", "result.json", "job.json"


class SearchResult(BaseModel):
    """What a search found. `winner` and `front` are indices of candidates at the last rung.

    Attributes:
        steps: training steps in all sessions, exact.
        training_share: worker time inside training steps / (workers x wall time), over all sessions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    corpus_digest: str
    winner: int
    finalists: tuple[int, ...]
    steps: int
    trained: int
    refused: int
    failed: int
    workers: int
    wall_seconds: float
    training_share: float
    fidelity: tuple[Fidelity, ...]


def search(job: SearchJob, corpus: Corpus, folder: Path) -> tuple[SearchResult, History]:
    """Walk through the plan of `job`; goes on where `folder` stands. The folder must be one that every node can reach.

    Raises:
        RunError: the folder holds another search, or every candidate failed.
        BudgetError: no architecture can meet a limit.
        ResourceError: Ray is not up, or the machine has too little memory or disk.
    """
    if not ray.is_initialized():
        raise ResourceError("no Ray is up in this process; start one with codenas.cli.cluster.local_ray or ray.init(address=...)")
    _claim(folder, job, corpus)
    history = History(folder / HISTORY)
    if (folder / RESULT).exists():
        LOGGER.info(f"search: {folder} is finished")
        return SearchResult.model_validate_json((folder / RESULT).read_bytes()), history
    plan = job.plan(corpus.manifest.vocab_size)
    check_reachable(plan.space, plan.objectives, plan.vocab_size, plan.seed)
    result = _run(job, plan, history, corpus, folder)
    write_atomic(folder / RESULT, result.model_dump_json(indent=2))
    return result, history


def _run(job: SearchJob, plan: Plan, history: History, corpus: Corpus, folder: Path) -> SearchResult:
    resources, workers = _resources(job)
    _require_memory(workers)
    require_free_space(folder, 1_000)
    setup = ExperimentSetup(
        corpus=corpus.path.absolute(),
        folder=(folder / "checkpoints").absolute(),
        train=job.train,
        objectives=job.objectives,
        score_tokens=job.trial.score_tokens,
        latency_tokens=job.trial.latency_tokens,
        threads=job.trial.cpus,
        device="auto",
    )
    done = _steps(history)
    started = time.monotonic()
    searcher = PlanSearcher(plan, history, setup, Progress("search", plan.budget.total_steps, already=done))
    LOGGER.info(
        f"search: {plan.budget.candidates} candidates to {plan.budget.rungs[0]} steps, {list(plan.budget.promote)} promoted, "
        f"{plan.budget.total_steps:,} steps in all, {done:,} done, {workers} at a time"
    )
    _fit(searcher, resources, job.trial.retries, folder / ".tune")
    if searcher.error is not None:
        raise searcher.error
    return _result(job, plan, history, corpus, searcher, workers, time.monotonic() - started)


def _fit(searcher: PlanSearcher, resources: dict[str, float], retries: int, scratch: Path) -> None:
    """Let Tune work until the searcher says that it is finished. What Tune writes is thrown away."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints tables at any verbosity
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C must reach the caller, who shuts Ray down
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(JobTrainable, resources),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.absolute()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _result(
    job: SearchJob, plan: Plan, history: History, corpus: Corpus, searcher: PlanSearcher, workers: int, wall: float
) -> SearchResult:
    rungs = plan.budget.rungs
    finalists = [trial for trial in plan.finalists(history, len(rungs) - 1) if trial.report(rungs[-1])]
    if not finalists:
        failures = [trial.failure.reason for trial in history.trials if trial.failure]
        raise RunError(f"no candidate reached {rungs[-1]} steps; the last failure: {failures[-1] if failures else 'none'}")
    return SearchResult(
        corpus_digest=corpus.manifest.digest,
        winner=_winner(finalists, job).candidate.index,
        finalists=tuple(trial.candidate.index for trial in finalists),
        steps=_steps(history),
        trained=sum(trial.report(rungs[0]) is not None for trial in history.trials),
        refused=sum(trial.refusal is not None for trial in history.trials),
        failed=sum(trial.failure is not None for trial in history.trials),
        workers=workers,
        wall_seconds=wall,
        training_share=searcher.step_seconds / max(wall * workers, 1e-9),
        fidelity=tuple(fidelity(history.trials, low, rungs[-1]) for low in rungs[:-1]),
    )


def _winner(finalists: list[Trial], job: SearchJob) -> Trial:
    reports = [trial.last for trial in finalists]
    fitness = weighted_fitness([report.metrics for report in reports if report], job.objectives)
    return finalists[min(range(len(finalists)), key=lambda i: (fitness[i], i))]


def _claim(folder: Path, job: SearchJob, corpus: Corpus) -> None:
    """Make sure that `folder` is this search's: another one's trials must not be mixed in."""
    mine = {"job": job.model_dump(mode="json"), "corpus": corpus.manifest.digest}
    text = _Claim.model_validate(mine).model_dump_json(indent=2)
    path = folder / JOB
    if not path.exists():
        write_atomic(path, text)
    elif path.read_text() != text:
        raise RunError(f"{folder} holds a search with another job or another corpus; choose another --run, or remove {folder}")


class _Claim(BaseModel):
    job: SearchJob
    corpus: str


def _resources(job: SearchJob) -> tuple[dict[str, float], int]:
    """What a trial asks of Ray, and how many run at a time."""
    have = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = job.trial.gpus if job.trial.gpus is not None else float(have.get("GPU", 0) > 0)
    wanted = {"cpu": float(job.trial.cpus), **({"gpu": gpus} if gpus else {})}
    workers = min(int(have.get(name.upper(), 0) // amount) for name, amount in wanted.items())
    if workers < 1:
        offered = f"{have.get('CPU', 0):.0f} CPUs and {have.get('GPU', 0):.0f} GPUs"
        raise ResourceError(
            f"a trial wants {job.trial.cpus} CPUs and {gpus:g} GPUs, the cluster has {offered}; lower trial.cpus or trial.gpus"
        )
    return wanted, workers


def _require_memory(workers: int) -> None:
    free = psutil.virtual_memory().available // 1_000_000
    needed = workers * MEGABYTES_PER_TRIAL
    if free < needed:
        raise ResourceError(
            f"{free} MB of memory are free and {workers} trials at a time need {needed} MB; close something or run fewer at a time"
        )


def _steps(history: History) -> int:
    return sum(report.steps for trial in history.trials for report in trial.reports)
