"""The public Python API: load a model and complete code, open a corpus, run a search, read its result.

`import codenas` offers the names of this module, and imports it only when one of them is used.
"""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from pydantic import ValidationError

from codenas.arch import ArchSpec
from codenas.checkpoint import MANIFEST, Checkpoint
from codenas.corpus import Corpus
from codenas.decode import BackendChoice, BackendOptions, Engine, SamplingParams, TorchBackend, choose_backend
from codenas.decode import complete as complete_text
from codenas.decode.choice import native_backend
from codenas.errors import CheckpointError, CodeNASError, ConfigError, ResourceError, RunError, UserError, first_error
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Evaluation
from codenas.experiment.device import resolve_device, visible_gpus
from codenas.experiment.evaluation import evaluate_run
from codenas.experiment.jobs import SearchJob, TrainJob
from codenas.experiment.local import search_locally
from codenas.experiment.mirror import Mirror
from codenas.experiment.run import Run
from codenas.experiment.run import open_run as lock_run
from codenas.experiment.session import checked_plan, recorded_job
from codenas.experiment.winner import train_winner
from codenas.measure.accelerators import is_called
from codenas.metrics import Metrics
from codenas.model import LanguageModel
from codenas.processes import worker_pool
from codenas.report.front import front_rows
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.result import SearchFolder, SearchResult
from codenas.vocab import Vocabulary

__all__ = [
    "Budget", "CodeNASError", "Corpus", "Evaluation", "EvaluationSettings", "Metrics", "Model", "Objective", "SearchJob",
    "SearchResult", "SearchRun", "TrainJob", "Trial", "UserError", "load", "open_corpus", "open_run", "run_search",
]  # fmt: skip

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)  # without slots: the engine lives in its __dict__
class Model:
    """A trained model that completes code. Prompts that begin alike share what was computed for the first of them.

    Attributes:
        checkpoint: the folder that it was loaded from, with its manifest.
        network: the `torch.nn.Module`, in evaluation mode.
        vocabulary: text to token ids and back.
    """

    checkpoint: Checkpoint
    network: LanguageModel = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)

    @property
    def arch(self) -> ArchSpec:
        """The architecture."""
        return self.network.arch

    @property
    def metrics(self) -> Metrics:
        """What was measured of the model when it was stored; None for what was not."""
        return self.checkpoint.manifest.metrics

    @property
    def size_bytes(self) -> int:
        """Bytes of weights and tokenizer, as stored."""
        return self.checkpoint.size_bytes

    @property
    def backend(self) -> BackendChoice:
        """What computes completions: the native library, or torch and why."""
        return choose_backend(self.arch, self._options)

    @property
    def _options(self) -> BackendOptions:
        return BackendOptions(threads=torch.get_num_threads(), device=str(self.network.device))

    @cached_property
    def _engine(self) -> Engine:
        native = self.backend.name == "native"
        return Engine(native_backend(self.checkpoint.load_stored(), self._options) if native else TorchBackend(self.network))

    def complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        max_tokens: int = 64,
        temperature: float = 0.2,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """The text that follows `prompt`.

        A prompt that is longer than the context loses its beginning.

        Args:
            prompt: the code to continue.
            suffix: the code after the gap that the completion fills. Only for models that were trained with `fim_rate`.
            max_tokens: maximum number of generated tokens.
            temperature: 0 is greedy; 1 samples from the model's distribution.
            top_p: samples from the smallest set of tokens with this probability.
            seed: the same seed gives the same completion; None: a random seed.
            stop: stop strings; they are not part of the completion.

        Raises:
            ConfigError: a value is outside its bounds, or the model cannot fill in the middle.
        """
        if suffix and not self.checkpoint.manifest.infills:
            raise ConfigError(f"{self.checkpoint.path} was not trained to fill in the middle (fim_rate); leave suffix out")
        try:
            params = SamplingParams(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, stop=tuple(stop))
        except ValidationError as error:
            raise ConfigError(first_error(error)) from error
        text, _ = complete_text(self._engine, self.vocabulary, prompt, params, suffix, self.checkpoint.manifest.infills_suffix_first)
        return text


@dataclass(slots=True, frozen=True)
class SearchRun:
    """A run folder with a search in it. Everything is read from its files, also while another process works on it."""

    folder: Path

    @property
    def job(self) -> SearchJob:
        """What the search was asked to do."""
        return recorded_job(self._home)

    @property
    def corpus(self) -> Corpus:
        """The corpus that the search works on."""
        return Corpus.open(Run(self.folder).corpus)

    @property
    def finished(self) -> bool:
        """Whether the search has a result."""
        return self._home.result() is not None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every candidate with its reports, in the order of their proposal; also before the search is finished."""
        return self._home.history().trials

    @property
    def result(self) -> SearchResult:
        """The winner, the finalists, the counts and the rank correlation between rungs.

        Raises:
            RunError: the search is not finished.
        """
        return self._found()[0]

    @property
    def winner(self) -> Trial:
        """The trial that won.

        Raises:
            RunError: the search is not finished.
        """
        result, history = self._found()
        return history.trials[result.winner]

    @property
    def front(self) -> tuple[Trial, ...]:
        """The Pareto front at the last rung, over all objectives of the search, and the winner.

        Raises:
            RunError: the search is not finished.
        """
        result, history = self._found()
        rows = front_rows(history.trials, result.winner, self.job.budget.rungs[-1], self.job.objectives)
        on_front = {row.id for row in rows}
        return tuple(trial for trial in history.trials if trial.candidate.id in on_front)

    def load_winner(self, device: str = "auto") -> Model:
        """The winner as the last rung stored it, before its full training.

        Raises:
            RunError: the search is not finished.
            CheckpointError: the checkpoint is missing or broken.
        """
        report = self.winner.last
        assert report is not None
        return load(self._home.checkpoints / report.checkpoint, device)

    def train(self, steps: int | None = None, job: TrainJob | None = None, device: str = "auto") -> Model:
        """Train the winner to its end, and load the model; an interrupted training is resumed.

        Args:
            steps: training steps in all, those of the search included; by default as many as `job` says.
            job: the settings of the training; by default the recipe of the search and `TrainJob()`.
            device: where the trained model is loaded, see `load`. It is trained on a GPU where there is one.

        Raises:
            RunError: the search is not finished, another process holds the run, or its model was trained otherwise.
            ConfigError: `steps` is below the number that the search has trained.
        """
        wanted = job or TrainJob()
        with lock_run(self.folder) as held:
            checkpoint = train_winner(held, wanted if steps is None else wanted.with_steps(steps))
        return load(checkpoint.path, device)

    def evaluate(self, settings: EvaluationSettings | None = None) -> Evaluation:
        """Measure the trained model on held-out repositories: bits per byte beside zlib and xz, completions, latency.

        The result is stored in the run; what was measured before with the same model and settings is not measured again.

        Args:
            settings: what is measured, and on which device; by default `EvaluationSettings()`.

        Raises:
            RunError: the winner is not trained yet, or another process holds the run.
            CheckpointError: the model was altered, or is of another corpus.
            LeakError: a logit depends on a later token.
        """
        with lock_run(self.folder) as held:
            return evaluate_run(held, settings or EvaluationSettings())

    @property
    def _home(self) -> SearchFolder:
        return SearchFolder(Run(self.folder).search)

    def _found(self) -> tuple[SearchResult, History]:
        found = self._home.finished()
        if found is None:
            raise RunError(f"the search in {self.folder} is not finished; run it again to resume it")
        return found


def load(path: AnyPath, device: str = "auto") -> Model:
    """Load a model: a checkpoint folder, or a run whose winner was trained (`codenas train`).

    Args:
        path: the folder of a run or of a checkpoint.
        device: as torch names it ("cpu", "cuda:1"); "auto" is a GPU where there is one.

    Raises:
        CheckpointError: there is no checkpoint, or it is incomplete or was altered.
        ResourceError: there is no memory for the model.
    """
    folder = Path(path)
    is_run = not (folder / MANIFEST).exists() and Run(folder).search.exists()
    if is_run and not Run(folder).model.exists():
        raise CheckpointError(f"{folder} has no trained model yet; run: codenas train --run {folder}")
    checkpoint = Checkpoint.open(Run(folder).model if is_run else folder)
    network = checkpoint.load_model(resolve_device(device))
    return Model(checkpoint, network, checkpoint.load_vocabulary())


def open_corpus(path: AnyPath) -> Corpus:
    """Open a corpus that `codenas prepare` made.

    Raises:
        CorpusError: it is missing, unfinished or broken.
    """
    return Corpus.open(Path(path))


def open_run(path: AnyPath) -> SearchRun:
    """Open a run to read the result of its search.

    Raises:
        RunError: there is no search in the folder.
    """
    found = SearchRun(Path(path))
    found.job  # noqa: B018  reads the file: a folder without a search is refused here
    return found


def run_search(
    corpus: AnyPath | Corpus,
    run: AnyPath,
    job: SearchJob | str | None = None,
    *,
    max_mb: float | None = None,
    max_ms: float | None = None,
    ray: bool = False,
    cpus: int | None = None,
    address: str | None = None,
) -> SearchRun:
    """Search for the best architecture inside the limits; an interrupted search is resumed.

    Args:
        corpus: a prepared corpus, or its folder.
        run: the folder of the run; it is made where it is missing.
        job: the settings of the search, or the name of a preset space ("tiny", "small", "medium", "full") with all else at
            its default; None is `SearchJob()`.
        max_mb: limit on the stored size, in MB.
        max_ms: limit on the median latency per token, in ms, measured on this machine.
        ray: train several candidates at a time on Ray; without it one after the other in this process, with the same result.
        cpus: CPUs that a Ray started here may use; all by default.
        address: a running Ray cluster to join, such as "auto"; by default one is started here and stopped at the end.

    Raises:
        ConfigError: a setting is outside its bounds.
        BudgetError: no architecture of the space can meet a limit.
        CorpusError: the corpus is missing, broken, or lacks a vocabulary of the space.
        RunError: the run holds another search, or another process works on it.
        NoWinnerError: no candidate reached the last rung inside the limits.
    """
    wanted = _job(job, max_mb, max_ms)
    with lock_run(Path(run)) as opened:
        path = corpus.path if isinstance(corpus, Corpus) else Path(corpus)
        search_in(opened, wanted, Corpus.open(opened.use_corpus(path)), ray=ray, cpus=cpus, address=address)
    return SearchRun(Path(run))


def search_in(
    run: Run,
    job: SearchJob,
    corpus: Corpus,
    mirror: Mirror | None = None,
    *,
    ray: bool,
    cpus: int | None = None,
    address: str | None = None,
) -> tuple[SearchResult, History]:
    """Search in a run that this process holds: what `run_search` and `codenas search` share.

    Raises:
        UserError: see `run_search`. Whatever can be refused is refused before Ray is started.
    """
    if not ray:
        _refuse_ray_options(cpus=cpus, address=address)
    home = SearchFolder(run.search)
    checked_plan(job, corpus, home, mirror)
    run.use_mirror(mirror.url if mirror is not None else None)
    finished = home.finished() is not None
    if not finished:
        run.require_writable()
    if not ray or finished:  # reading a result needs no Ray
        return search_locally(job, corpus, run.search, mirror)
    from tune_jobs.launch import search

    with _ray(cpus, address, job.trial.accelerator_type) as scratch:
        return search(job, corpus, run.search, scratch, mirror=mirror)


def _refuse_ray_options(**given: int | str | None) -> None:
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} {value} has no effect on a search without Ray; leave it out, or search on Ray (--ray, ray=True)")


def _ray(cpus: int | None, address: str | None, accelerator_type: str | None) -> AbstractContextManager[Path]:
    """A cluster, or a Ray started here: of this machine's GPUs it uses those of one kind, where one is wanted."""
    from tune_jobs.cluster.local import local_ray

    chosen = None
    if accelerator_type is not None and address is None:
        with worker_pool(1) as pool:  # a process that ends: what CUDA allocates in it would stay allocated in this one
            names = pool.submit(visible_gpus).result()
        chosen = [number for number, name in enumerate(names) if is_called(name, accelerator_type)]
        if not chosen:
            there = ", ".join(names) or "none"
            raise ResourceError(f"this machine has no GPU called {accelerator_type}; there are: {there}; correct trial.accelerator_type")
    return local_ray(cpus, address, chosen)


def _job(job: SearchJob | str | None, max_mb: float | None, max_ms: float | None) -> SearchJob:
    for name, value in (("max_mb", max_mb), ("max_ms", max_ms)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} {value:g} must be a number above 0")
    try:
        wanted = SearchJob(space=job) if isinstance(job, str) else job or SearchJob()
        return wanted.with_limits({"size_bytes": max_mb and max_mb * 1e6, "latency_ms_p50": max_ms})
    except ValidationError as error:
        raise ConfigError(first_error(error)) from error
