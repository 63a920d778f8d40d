"""A search on two GPUs of two kinds that are none: whatever fails on them, no candidate is blamed and no latencies are mixed.

Ray hands out GPUs that nodes only say that they have. Candidates train for real, on the CPU; the faults of GPUs are raised where torch
would raise them, and the name of a node's GPU is in the environment of its processes.
"""

import os
import random
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from codenas.arch import SearchSpace
from codenas.corpus import Corpus
from codenas.errors import ResourceError
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.device import GIVEN_GPU, require_visible_gpu
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.experiment.rung import execute
from codenas.measure import served
from codenas.processes import worker_pool
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Candidate, Outcome, Trial
from codenas.search.fitness import Objective
from codenas.search.result import SearchFolder
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.train.trainer import Trainer
from tests.fakes import tiny_arch, tiny_corpus
from tests.nodes import Nodes, nodes, wait_until
from tune_jobs.cluster.local import local_ray
from tune_jobs.launch import search
from tune_jobs.trainable import JobTrainable

BIG, SMALL = "NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 4090"
GPU = "GPU_THAT_IS_NONE"  # environment variable of a node: the name of its GPU; empty where the driver is missing
STICKY = (0, 3)  # candidates whose first process meets an error that leaves its GPU unusable
JOB = SearchJob(
    space=SearchSpace(base=tiny_arch(), choices={"d_model": (16, 24, 32, 48), "norm": ("rmsnorm", "layernorm")}),
    strategy="random",
    budget=Budget(candidates=6, rungs=(30, 60), promote=(2,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0), Objective(metric="latency_ms_p50", weight=0.1)),
    train=TrainConfig(batch_size=4, precision="float32"),
    trial=TrialResources(score_tokens=256, latency_tokens=4, retries=0),  # without retries a candidate would pay for any fault
)
ON_GPU = JOB.model_copy(update={"trial": JOB.trial.model_copy(update={"latency_device": "cuda"})})
ON_BIG = JOB.model_copy(update={"trial": ON_GPU.trial.model_copy(update={"accelerator_type": "RTX 5090"})})

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_gradients = Trainer._gradients


class OnGpuThatIsNone(JobTrainable):
    """A trial whose GPU is a name."""

    @staticmethod
    def visible_gpus() -> tuple[str, ...]:
        """The name; refuses a node without one as a GPU is refused that torch does not see."""
        _require_gpu()
        return (os.environ[GPU],)

    def work(self, setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        """As on a GPU, with the faults of the drill; computed on the CPU."""
        _require_gpu()
        name, marker = os.environ[GPU], setup.folder.parent / f"sticky-{job.candidate.index}"

        def gradients(trainer: Trainer, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            if job.candidate.index in STICKY and not marker.exists():
                marker.write_text(name)
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
            if name == SMALL and trainer._at_once > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return _gradients(trainer, inputs, targets)

        here = setup.model_copy(update={"device": "cpu", "latency_device": "cpu"})
        on_gpu = mock.patch.object(served, "device_name", lambda _: name) if setup.latency_device == "cuda" else mock.MagicMock()
        with mock.patch.object(Trainer, "_gradients", gradients), on_gpu:
            return (yield from execute(here, job))


def _require_gpu() -> None:
    with mock.patch("torch.cuda.is_available", lambda: bool(os.environ[GPU])):
        require_visible_gpu()


def _searched(job: SearchJob, corpus: Path, folder: Path, address: str) -> None:
    """Run in a process of its own: Ray reads the token when it is imported."""
    with local_ray(address=address) as scratch:
        search(job, Corpus.open(corpus), folder, scratch, OnGpuThatIsNone)


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    with nodes() as found:
        found.start_head()
        with mock.patch.dict(os.environ, {name: value for name, value in found.environment.items() if name.startswith("RAY_")}):
            yield found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_corpus(tmp_path_factory.mktemp("corpus")).path


def trials(folder: Path) -> tuple[Trial, ...]:
    home = SearchFolder(folder)
    return home.history().trials if home.claimed() is not None else ()


def reports(folder: Path) -> int:
    path = folder / "trials.jsonl"
    return path.read_text().count('"event":"report"') if path.exists() else 0


def contexts(folder: Path) -> set[str]:
    return {str(report.metrics.latency_context) for trial in trials(folder) for report in trial.all_reports}


def test_a_trial_whose_node_lost_its_driver_ends_the_search_and_trains_nothing(corpus: Path, tmp_path: Path) -> None:
    """Of a node that joined after the search had begun."""
    setup = JOB.setup(Corpus.open(corpus), tmp_path).model_copy(update={"device": GIVEN_GPU})
    candidate = Candidate(index=0, design=JOB.search_space().sample(random.Random(0)), origin="random", seed=0)
    trial = JobTrainable({"candidate": candidate.model_dump_json(), "rung": 30, "setup": setup.model_dump_json()})
    with mock.patch("torch.cuda.is_available", lambda: False):
        result = trial.step()
    assert result["done"] and "outcome" not in result
    assert result["user_error"].startswith("torch sees no GPU: torch") and "nothing is trained on the CPU instead" in result["user_error"]
    assert list(tmp_path.iterdir()) == []


def test_no_candidate_fails_for_faults_of_two_unlike_gpus_and_a_lost_node(cluster: Nodes, corpus: Path, tmp_path: Path) -> None:
    big = cluster.add_worker(gpus=1, environment={GPU: BIG})
    cluster.add_worker(gpus=1, environment={GPU: SMALL})
    with worker_pool(1) as pool:
        running: Future[None] = pool.submit(_searched, JOB, corpus, tmp_path / "search", cluster.address)
        wait_until(lambda: running.done() or reports(tmp_path / "search") >= 2)
        assert not running.done(), running.exception()
        big.kill()
        cluster.add_worker(gpus=1, environment={GPU: BIG})
        running.result()
    found = trials(tmp_path / "search")
    assert [trial.failure for trial in found if trial.failure] == []
    assert Counter(len(trial.reports) for trial in found) == {2: 2, 1: 4}
    assert {path.name for path in tmp_path.glob("**/sticky-*")} == {f"sticky-{index}" for index in STICKY}
    assert len(contexts(tmp_path / "search")) == 1, "latency is measured where the model will be served"


def test_latencies_on_the_gpus_are_of_one_kind_and_a_missing_driver_ends_the_search(cluster: Nodes, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    cluster.add_worker(gpus=1, environment={GPU: SMALL})
    broken = cluster.add_worker(gpus=1, environment={GPU: ""})

    def refused(job: SearchJob) -> str:
        with worker_pool(1) as pool, pytest.raises(ResourceError) as caught:
            pool.submit(_searched, job, corpus, folder, cluster.address).result()
        return str(caught.value)

    assert "torch sees no GPU: torch" in refused(ON_BIG)
    broken.kill()
    wait_until(lambda: "no node has a GPU called RTX 5090" in refused(ON_BIG), lambda: "the dead node is still counted")
    cluster.add_worker(gpus=1, environment={GPU: BIG})
    with worker_pool(1) as pool, pytest.raises(ResourceError, match=f"on {SMALL} and {BIG}, which do not compare"):
        pool.submit(_searched, ON_GPU, corpus, tmp_path / "other", cluster.address).result()
    with worker_pool(1) as pool:
        pool.submit(_searched, ON_BIG, corpus, folder, cluster.address).result()
    assert [trial.failure for trial in trials(folder) if trial.failure] == []
    assert all(context.startswith(BIG) for context in contexts(folder))
    assert {path.read_text() for path in tmp_path.glob("**/sticky-*")} == {BIG}
