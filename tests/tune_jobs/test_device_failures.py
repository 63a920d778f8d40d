"""A GPU that fails in the middle of a search: its process ends, and no candidate is blamed for it that would not fail again."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from codenas.experiment.config import ExperimentSetup
from codenas.search.actions import Job
from codenas.search.candidate import Outcome
from codenas.train.curve import Step
from tests.fakes import tiny_corpus
from tests.tune_jobs.test_search import JOB
from tune_jobs.launch import search
from tune_jobs.trainable import JobTrainable

UNLUCKY, BROKEN = 1, 3  # candidates: in whose first training the GPU fails, and in whose every training

pytestmark = pytest.mark.cluster


class Failing(JobTrainable):
    """Every call of a GPU that has failed fails, whoever makes it."""

    failed = False

    def work(self, setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        """See `JobTrainable.work`; notes which process worked on what."""
        index, notes = job.candidate.index, setup.folder.parent / "processes"
        notes.mkdir(exist_ok=True)
        before = len(list(notes.glob(f"{index}-{job.rung}-*")))
        (notes / f"{index}-{job.rung}-{before}-{os.getpid()}").touch()
        steps = super().work(setup, job)
        yield next(steps)
        if Failing.failed or index == BROKEN or (index == UNLUCKY and before == 0):
            Failing.failed = True
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
        return (yield from steps)


def test_a_gpu_that_fails_takes_its_process_and_no_candidate(ray_cluster: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = JOB.model_copy(update={"trial": JOB.trial.model_copy(update={"retries": 0})})  # of processes that die otherwise
    _, history = search(job, tiny_corpus(tmp_path / "corpus"), tmp_path / "search", ray_cluster, Failing)
    failures = {trial.candidate.index: trial.failure.reason for trial in history.trials if trial.failure is not None}
    assert failures == {BROKEN: "CUDA error: device-side assert triggered (in 2 processes)"}
    assert all(trial.report(4) is not None for trial in history.trials if trial.candidate.index != BROKEN)
    worked = [path.name.split("-") for path in (tmp_path / "search" / "processes").iterdir()]
    for candidate in (UNLUCKY, BROKEN):
        processes = [pid for index, rung, _, pid in worked if (int(index), rung) == (candidate, "4")]
        assert len(processes) == len(set(processes)) == 2, "tried again in the process that cannot"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all("its GPU failed (CUDA error: device-side assert triggered); retrying once in another process" in line for line in warnings)
