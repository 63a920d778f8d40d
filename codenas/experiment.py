"""One candidate to one budget: build, measure, train, store, score. The same code runs in a loop, on a cluster, on a GPU box.

What a candidate is worth is read from what was stored: the checkpoint is written first, pruned and in the storage of its design,
loaded again and scored. Training goes on from a state that is whole.
"""

import contextlib
import math
import shutil
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from codenas.arch.cost import parameters
from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.checkpoint import TRAINING, Checkpoint, Manifest, stored_at, update_metrics, write_checkpoint
from codenas.compress.prune import pruned
from codenas.corpus import Batches, Corpus, count_windows
from codenas.errors import CheckpointError, CorpusError, RunError, TrialFailure, is_out_of_memory
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.measure.latency import decoding_latency
from codenas.metrics import Course, Metrics
from codenas.model import LanguageModel, build_model, count_parameters
from codenas.search.candidate import Candidate, Outcome, Refusal, Report
from codenas.search.fitness import Objective, broken_limit
from codenas.search.plan import Job
from codenas.seeds import derive
from codenas.train import Recorder, Step, TrainConfig, Trainer
from codenas.vocab import Infilling, Vocabulary, load_vocabulary

TRAIN, VALID, TEST = "train", "valid", "test"


class ExperimentSetup(BaseModel):
    """All that training a candidate needs beside the candidate. `threads` is part of the result: sums depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Path
    folder: Path
    train: TrainConfig = TrainConfig()
    objectives: tuple[Objective, ...] = ()
    score_tokens: int = Field(16_384, ge=1, description="validation tokens, in the corpus's own vocabulary, that a rung is scored on")
    scoring_steps: dict[int, int] = Field({}, description="steps of the scoring branch at a rung; none at one that is not named")
    latency_tokens: int = Field(64, ge=1)
    threads: int = Field(1, ge=1)
    device: str = Field("cpu", description="of torch; `auto` is a GPU where there is one")

    def checkpoint(self, candidate: Candidate, rung: int) -> Path:
        """Where `candidate` is stored at `rung`."""
        return self.folder / candidate.id / str(rung)


def run_job(setup: ExperimentSetup, job: Job) -> Outcome:
    """Do `job` to its end, here and now."""
    steps = execute(setup, job)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def execute(setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
    """Do `job` step by step: yields every training step, returns what became of the candidate.

    Steps beyond the rung are those of a scoring branch, which nobody resumes.

    A rung that is already stored is not trained again; a later one goes on from the highest stored one below it.
    """
    recorder = Recorder()
    setup, corpus = ready(setup, job.candidate.design)
    start, path = _checkpoint_below(setup, job), setup.checkpoint(job.candidate, job.rung)
    if (reached := stored_at(path)) is not None:
        return _report(setup, corpus, job, start, reached)
    try:
        free = start.manifest.metrics if start is not None else measure_untrained(setup, corpus, job.candidate)
        new = start is None and not job.candidate.repeat  # who has trained was inside the limits
        reason = broken_limit(free, setup.objectives) if new else None
        if reason is not None:
            return Refusal(index=job.candidate.index, reason=reason, metrics=free)
        finished = yield from _train_to_rung(setup, corpus, job, start, free, recorder)
    except TrialFailure as failure:
        return job.failed(str(failure), recorder.course())
    return _report(setup, corpus, job, start, finished)


def ready(setup: ExperimentSetup, design: Design) -> tuple[ExperimentSetup, Corpus]:
    """`setup` as it is on this machine, in this process, and the corpus in the vocabulary of `design`.

    Raises:
        CorpusError: the corpus lacks the vocabulary, or is shorter than the context.
    """
    torch.set_num_threads(setup.threads)
    device = best_device() if setup.device == "auto" else setup.device
    own = Corpus.open(setup.corpus)
    corpus = own.with_vocabulary(design.vocabulary)
    require_windows(corpus, design.arch.context_len)
    found = {"device": device, "train": setup.train.on(device), "score_tokens": tokens_to_score(setup.score_tokens, own, corpus)}
    return setup.model_copy(update=found), corpus


def tokens_to_score(tokens: int, own: Corpus, corpus: Corpus) -> int:
    """How many tokens of `corpus` hold as much text as `tokens` of `own`: in every vocabulary as much of the split is scored."""
    return max(1, round(tokens * len(corpus.split(VALID)) / len(own.split(VALID))))


def require_windows(corpus: Corpus, context_len: int) -> None:
    """See that there is something to train and to score on, before anything is built: a context may be larger than the memory.

    Raises:
        CorpusError: a split has not even one window of `context_len`.
    """
    for split in (TRAIN, VALID):
        count_windows(len(corpus.split(split)), context_len, split)


def verify_corpus(corpus: Corpus) -> Vocabulary:
    """See that shards and vocabulary are what was written, before a stage begins; returns the vocabulary.

    Raises:
        CorpusError: they are not.
    """
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    if vocabulary.digest != corpus.manifest.vocab_digest:
        raise CorpusError(f"{corpus.tokenizer_path} is not the vocabulary of the shards beside it; restore it, or prepare the corpus again")
    corpus.verify()
    return vocabulary


def _checkpoint_below(setup: ExperimentSetup, job: Job) -> Checkpoint | None:
    """The highest stored rung of the candidate below the job's."""
    rungs = [int(path.name) for path in (setup.folder / job.candidate.id).glob("[1-9]*")]
    below = max((rung for rung in rungs if rung < job.rung), default=None)
    return Checkpoint.open(setup.checkpoint(job.candidate, below)) if below is not None else None


def measure_untrained(setup: ExperimentSetup, corpus: Corpus, candidate: Candidate) -> Metrics:
    """Size and latency do not depend on training: a candidate outside a limit is refused before its first step."""
    fresh = _build(candidate.arch, corpus.manifest.vocab_size, candidate.seed)
    path, manifest = setup.checkpoint(candidate, 0), _manifest(corpus, candidate.design, 0, 0)
    stored = write_checkpoint(path, pruned(dict(fresh.named_parameters()), candidate.design), manifest, corpus.tokenizer_path)
    stored_size, model = stored.size_bytes, stored.load_model(setup.device)
    with _memory_for(candidate.arch, "its latency was measured"):
        latency = decoding_latency(model, setup.latency_tokens)
    shutil.rmtree(path)
    return Metrics(params=count_parameters(model), size_bytes=stored_size, latency_ms_p50=latency.p50_ms, latency_ms_p95=latency.p95_ms)


def _train_to_rung(
    setup: ExperimentSetup, corpus: Corpus, job: Job, start: Checkpoint | None, free: Metrics, recorder: Recorder
) -> Generator[Step, None, Checkpoint]:
    config = setup.train.model_copy(update={"seed": job.candidate.seed})
    trainer = load_trainer(corpus, job.candidate.arch, config, setup.device, start)
    yield from recorder.watch(trainer.run_to(job.rung))
    branch_steps = scoring_steps(setup, job)
    scored = (yield from scoring_branch(trainer, branch_steps)) if branch_steps else None
    subject = Subject(corpus, job.candidate.design, free)
    return store(trainer, setup.checkpoint(job.candidate, job.rung), subject, scored=scored, course=recorder.course())


def scoring_steps(setup: ExperimentSetup, job: Job) -> int:
    """Steps that are trained only to score the job's rung: nobody resumes them."""
    return setup.scoring_steps.get(job.rung, 0)


@dataclass(slots=True, frozen=True)
class Scored:
    """What a training is worth now, and the state that it goes on from; None where nobody resumes it."""

    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor] | None


def scoring_branch(trainer: Trainer, steps: int) -> Generator[Step, None, Scored]:
    """Let the rate of a copy fall to zero over `steps` steps; the state at its root, at full rate, is the one to resume.

    So a short training is scored as if it had ended here (Hu et al. 2024), and is still the beginning of a longer one.
    """
    stable = {name: value.clone() for name, value in trainer.state().items()}
    root = trainer.step
    yield from trainer.run_to(root + steps, decay_from=root)
    weights = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    stable["seconds"] = trainer.state()["seconds"]  # the branch took its time too
    trainer.load_state(stable)
    return Scored(weights, stable)


def _report(setup: ExperimentSetup, corpus: Corpus, job: Job, start: Checkpoint | None, finished: Checkpoint) -> Outcome:
    """Score the stored checkpoint on held-out repositories, once."""
    metrics = finished.manifest.metrics
    if metrics.bits_per_byte is None:
        try:
            metrics = metrics.merged(Metrics(bits_per_byte=stored_bits(setup, corpus, finished)))
        except TrialFailure as failure:
            return job.failed(str(failure), finished.manifest.course)
        update_metrics(finished, metrics)
    before = start.manifest.metrics.train_seconds or 0.0 if start is not None else 0.0
    return Report(
        index=job.candidate.index,
        rung=job.rung,
        steps=job.rung - (start.manifest.step if start is not None else 0),
        scoring_steps=scoring_steps(setup, job),
        metrics=metrics,
        seconds=(metrics.train_seconds or 0.0) - before,
        checkpoint=str(finished.path.relative_to(setup.folder)),
        course=finished.manifest.course,
        repeat=job.candidate.repeat,
    )


def stored_bits(setup: ExperimentSetup, corpus: Corpus, checkpoint: Checkpoint) -> float:
    """Bits per byte of what is stored, on held-out repositories.

    Raises:
        TrialFailure: they are not finite, or memory ran out.
    """
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    model = checkpoint.load_model(setup.device)
    with _memory_for(model.arch, "the stored model was scored"):
        scored = bits_per_byte(model, corpus.split(VALID), vocabulary.bytes_per_token, setup.score_tokens, setup.train.precision)
    if not math.isfinite(scored.bits_per_byte):
        raise TrialFailure("the stored model scores no finite bits per byte")
    return scored.bits_per_byte


def forget_training_states(checkpoints: Path, keep: Path) -> None:
    """Remove what only a resumed training needs from every stored rung but `keep`: it is most of the space."""
    for state in checkpoints.glob(f"*/*/{TRAINING}"):
        if state.parent != keep:
            state.unlink()


@dataclass(slots=True, frozen=True)
class FullTraining:
    """A training to its end: constant rate, then a linear decay over the last `decay_share` of all steps."""

    steps: int
    decay_share: float
    save_every: int

    @property
    def decay_from(self) -> int:
        """The first step whose rate is lowered."""
        return round(self.steps * (1 - self.decay_share))


def train_fully(
    corpus: Corpus,
    design: Design,
    config: TrainConfig,
    plan: FullTraining,
    folder: Path,
    start: Checkpoint | None = None,
    device: str = "cpu",
) -> Generator[Step, None, Checkpoint]:
    """Train `design` until `plan.steps` steps are done in all, from `start` or from nothing; yields every step.

    Stores the state in `folder`/last every `save_every` steps, and when a `KeyboardInterrupt` is thrown in, and resumes from it;
    the result is `folder`/model.

    Raises:
        CorpusError: `corpus` has not the vocabulary of the design.
        RunError: `folder`/model is there, and was trained otherwise.
    """
    final, last = folder / "model", folder / "last"
    config = config.on(device)
    recipe = {**config.model_dump(mode="json"), "steps": plan.steps, "decay_from": plan.decay_from}
    if (finished := stored_at(final)) is not None:
        return _finished_training(finished, recipe)
    interrupted = stored_at(last)
    if interrupted is not None and _trained_as(interrupted) != recipe:
        interrupted = None  # a state on the way to another end: its rates have been others
    corpus = corpus.with_vocabulary(design.vocabulary)
    trainer = load_trainer(corpus, design.arch, config, device, interrupted or start)
    params = parameters(design.stored_arch, corpus.manifest.vocab_size)
    subject = Subject(corpus, design, start.manifest.metrics if start is not None else Metrics(params=params))
    for step in trainer.run_to(plan.steps, plan.decay_from):
        try:
            yield step
        except KeyboardInterrupt:  # thrown in between two steps, where the state is whole
            store(trainer, last, subject, recipe)
            raise
        if trainer.step % plan.save_every == 0 and trainer.step < plan.steps:
            store(trainer, last, subject, recipe)
    stored = store(trainer, final, subject, recipe, start.manifest.weights_sha256 if start is not None else None)
    shutil.rmtree(last, ignore_errors=True)
    return stored


def _finished_training(checkpoint: Checkpoint, recipe: dict[str, Any]) -> Checkpoint:
    checkpoint.verify()
    trained = _trained_as(checkpoint)
    changed = [f"{name} {trained.get(name)} (now {recipe.get(name)})" for name in recipe if trained.get(name) != recipe[name]]
    if changed:
        raise RunError(f"{checkpoint.path} was trained with {changed[0]}; remove it to train it again, or choose another --run")
    return checkpoint


def _trained_as(checkpoint: Checkpoint) -> dict[str, Any]:
    """The recipe of a stored training; what an earlier version did not know yet, it did by default."""
    return {**TrainConfig().model_dump(mode="json"), **checkpoint.manifest.training}


def best_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_trainer(corpus: Corpus, arch: ArchSpec, config: TrainConfig, device: str, start: Checkpoint | None) -> Trainer:
    """A trainer of `arch` on the training split; it goes on from `start` where one is given."""
    if start is not None and (start.manifest.corpus_digest != corpus.manifest.digest or start.manifest.training_arch != arch):
        raise CheckpointError(f"{start.path} was trained on another corpus or is another architecture; resume it where it came from")
    batches = Batches(corpus.split(TRAIN), arch.context_len, derive(config.seed, "batches"), _infilling(corpus, config))
    model = _build(arch, corpus.manifest.vocab_size, config.seed, device)
    trainer = Trainer(model, batches, config)
    if start is not None:
        trainer.load_state(start.load_training_state())
    return trainer


def _infilling(corpus: Corpus, config: TrainConfig) -> Infilling | None:
    """Moves the middle of documents where the recipe wants that; else no vocabulary is read."""
    return Infilling(load_vocabulary(corpus.tokenizer_path), config.fim_rate, config.fim_spm_share) if config.fim_rate else None


@dataclass(slots=True, frozen=True)
class Subject:
    """What is trained, on what (the corpus in the design's vocabulary), and what of its metrics training does not change."""

    corpus: Corpus
    design: Design
    free: Metrics


def store(
    trainer: Trainer,
    path: Path,
    subject: Subject,
    recipe: dict[str, Any] | None = None,
    parent: str | None = None,
    scored: Scored | None = None,
    course: Course | None = None,
) -> Checkpoint:
    """Write what `trainer` has reached, as the design of `subject` stores it, and the state to go on from, whole.

    The weights are the moving average, or those of `scored`.
    """
    scored = scored or Scored(trainer.averaged_weights(), trainer.state())
    trained = Metrics(
        train_tokens=trainer.tokens, train_seconds=trainer.seconds, tokens_per_second=trainer.tokens / max(trainer.seconds, 1e-9)
    )
    metrics = subject.free.model_copy(update={"bits_per_byte": None}).merged(trained)
    manifest = _manifest(subject.corpus, subject.design, trainer.step, trainer.tokens).model_copy(
        update={"metrics": metrics, "training": recipe or trainer.config.model_dump(mode="json"), "parent": parent, "course": course}
    )
    try:
        return write_checkpoint(path, pruned(scored.weights, subject.design), manifest, subject.corpus.tokenizer_path, scored.state)
    except CheckpointError as error:
        raise TrialFailure(str(error)) from error


def _build(arch: ArchSpec, vocab_size: int, seed: int, device: str = "cpu") -> LanguageModel:
    with _memory_for(arch, "the model was built"):
        model = build_model(arch, vocab_size, seed).to(device)
    return model


@contextlib.contextmanager
def _memory_for(arch: ArchSpec, done: str) -> Iterator[None]:
    """What does not fit into memory is a failed trial, before and after training as in it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"d_model {arch.d_model}, {arch.n_layers} layers, context_len {arch.context_len}"
        raise TrialFailure(f"out of memory while {done} ({size}); take a smaller one, or close something") from error


def _manifest(corpus: Corpus, design: Design, step: int, tokens: int) -> Manifest:
    stored = design.stored_arch
    return Manifest(
        arch=stored,
        trained_arch=design.arch if design.arch != stored else None,
        storage=design.storage,
        vocabulary=design.vocabulary,
        vocab_size=corpus.manifest.vocab_size,
        vocab_digest=corpus.manifest.vocab_digest,
        corpus_digest=corpus.manifest.digest,
        step=step,
        train_tokens=tokens,
    )
