"""A process that runs one job after the other holds the memory of one."""

import functools
from collections.abc import Callable
from pathlib import Path
from weakref import WeakSet

import psutil
import pytest
import torch

from codenas.arch import ArchSpec, Design
from codenas.corpus import Corpus
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.rung import execute, run_job
from codenas.model import LanguageModel
from codenas.search.actions import Job
from codenas.search.candidate import Candidate, Report
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer
from tests.contracts.members import MIXERS
from tests.fakes import tiny_arch, tiny_corpus

CANDIDATES, SETTLED, MEGABYTES = 50, 15, 8  # memory may grow by so much after the first so many
FAMILIES = ("grouped window", "linear", "mamba", "rwkv")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def setup(corpus: Corpus, folder: Path, **fields: object) -> ExperimentSetup:
    train = TrainConfig.model_validate({"batch_size": 2, "precision": "float32", **fields})
    return ExperimentSetup(corpus=corpus.path, folder=folder, train=train, score_tokens=64, latency_tokens=2)


def job(index: int, arch: ArchSpec) -> Job:
    return Job(Candidate(index=index, design=Design(arch=arch), origin="test", seed=index), rung=1)


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> WeakSet[object]:
    """The models and trainers that the test has made and that anything still refers to."""
    made = WeakSet[object]()
    for kind in (LanguageModel, Trainer):
        monkeypatch.setattr(kind, "__init__", _noting(kind.__init__, made))
    return made


def _noting(create: Callable[..., None], made: WeakSet[object]) -> Callable[..., None]:
    def noted(self: object, *args: object, **kwargs: object) -> None:
        create(self, *args, **kwargs)
        made.add(self)

    return noted


def test_memory_stays_flat_over_fifty_candidates(corpus: Corpus, alive: WeakSet[object], tmp_path: Path) -> None:
    shared, process, used = setup(corpus, tmp_path), psutil.Process(), []
    for index in range(CANDIDATES):
        arch = tiny_arch(MIXERS[FAMILIES[index % len(FAMILIES)]], d_model=128, position="none")
        assert isinstance(run_job(shared, job(index, arch)), Report)
        assert not alive
        used.append(process.memory_info().rss / 1e6)
    assert max(used[SETTLED:]) - max(used[:SETTLED]) < MEGABYTES


def test_a_job_that_is_dropped_leaves_nothing(corpus: Corpus, alive: WeakSet[object], tmp_path: Path) -> None:
    steps = execute(setup(corpus, tmp_path), Job(job(0, tiny_arch()).candidate, rung=10))
    next(steps)
    assert alive
    steps.close()
    assert not alive


@pytest.mark.filterwarnings(r"ignore:.torch\.jit:DeprecationWarning")  # torch's compiler uses what torch gives up
def test_every_model_of_a_process_is_compiled_and_released(
    corpus: Corpus, alive: WeakSet[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reset torch compiles eight, runs the others uncompiled in silence, and keeps the eight."""
    compiled: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: object) -> object:
        compiled.append(1)
        return graph.forward

    plain = torch.compile  # with a compiler that takes no minutes
    monkeypatch.setattr(torch, "compile", lambda model, mode: functools.partial(plain, backend=count)(model))
    shared = setup(corpus, tmp_path, compile=True)
    for index in range(12):
        graphs = len(compiled)
        outcome = run_job(shared, job(index, tiny_arch(d_model=16 + 8 * index, n_layers=1)))
        assert isinstance(outcome, Report), outcome
        assert len(compiled) > graphs
        assert not alive
