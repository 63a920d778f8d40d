"""Trainings that can be stored at any step and resumed, for the rungs of a search and for full trainings."""

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.checkpoint import Checkpoint, Manifest, write_checkpoint
from codenas.compress.prune import pruned
from codenas.corpus import Batches, Corpus
from codenas.errors import CheckpointError, TrialFailure, is_out_of_memory
from codenas.experiment.resume import differences, require_resumable
from codenas.experiment.splits import TRAIN
from codenas.metrics import Metrics, TrainingCurve
from codenas.model import LanguageModel, build_model
from codenas.seeds import derive
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.train.trainer import Trainer
from codenas.vocab import Infilling, load_vocabulary


def load_trainer(corpus: Corpus, design: Design, config: TrainConfig, device: str, start: Checkpoint | None) -> Trainer:
    """A trainer of `design` on the training split of `corpus`, which resumes from `start` if one is given.

    Raises:
        CheckpointError: `start` has another corpus, architecture, optimizer or seed, or no training state.
    """
    config = config.on(device)
    if start is not None:
        require_resumable(start, differences(start, corpus, design, config))
    batches = Batches(corpus.split(TRAIN), design.arch.context_len, derive(config.seed, "batches"), _infilling(corpus, config))
    model = build(design.arch, corpus.manifest.vocab_size, config.seed, device)
    trainer = Trainer(model, batches, config)
    if start is not None:
        trainer.load_state(start.load_training_state())
    return trainer


def _infilling(corpus: Corpus, config: TrainConfig) -> Infilling | None:
    """The fill-in-the-middle transform of the recipe; None without one."""
    return Infilling(load_vocabulary(corpus.tokenizer_path), config.fim_rate, config.fim_spm_share) if config.fim_rate else None


def build(arch: ArchSpec, vocab_size: int, seed: int, device: str = "cpu") -> LanguageModel:
    with memory_errors_as_failures(arch, "the model was built"):
        model = build_model(arch, vocab_size, seed).to(device)
    return model


@contextlib.contextmanager
def memory_errors_as_failures(arch: ArchSpec, done: str) -> Iterator[None]:
    """Raise out-of-memory errors as `TrialFailure`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"d_model {arch.d_model}, {arch.n_layers} layers, context_len {arch.context_len}"
        raise TrialFailure(f"out of memory while {done} ({size}); choose a smaller architecture, or free memory") from error


@dataclass(slots=True, frozen=True)
class TrainingSubject:
    """A design, the corpus (in its vocabulary) to train it on, and its static metrics."""

    corpus: Corpus
    design: Design
    static: Metrics


@dataclass(slots=True, frozen=True)
class Scored:
    """The weights to score, and the state to resume from; None if it will not be resumed."""

    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor] | None


def scoring_branch(trainer: Trainer, steps: int) -> Generator[Step, None, Scored]:
    """Decay the learning rate to zero over `steps` steps on a branch; the state at its root, at full rate, is the one to resume.

    So a short training is scored as if it had ended here (warmup-stable-decay, Hu et al. 2024), and can still be continued.
    """
    stable = {name: value.clone() for name, value in trainer.state().items()}
    root = trainer.step
    yield from trainer.run_to(root + steps, decay_from=root)
    weights = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    stable["seconds"] = trainer.state()["seconds"]  # including those of the branch
    trainer.load_state(stable)
    return Scored(weights, stable)


def store(
    trainer: Trainer,
    path: Path,
    subject: TrainingSubject,
    recipe: dict[str, Any] | None = None,
    parent: str | None = None,
    scored: Scored | None = None,
    curve: TrainingCurve | None = None,
) -> Checkpoint:
    """Store the weights of `trainer`, pruned and quantised as the design of `subject` says, and the full state to resume from.

    The weights are the moving average, or those of `scored`.
    """
    scored = scored or Scored(trainer.averaged_weights(), trainer.state())
    trained = Metrics(
        train_tokens=trainer.tokens, train_seconds=trainer.seconds, tokens_per_second=trainer.tokens / max(trainer.seconds, 1e-9)
    )
    metrics = subject.static.model_copy(update={"bits_per_byte": None}).merged(trained)
    manifest = manifest_of(subject.corpus, subject.design, trainer.step, trainer.tokens).model_copy(
        update={"metrics": metrics, "training": recipe or trainer.config.model_dump(mode="json"), "parent": parent, "curve": curve}
    )
    try:
        return write_checkpoint(path, pruned(scored.weights, subject.design), manifest, subject.corpus.tokenizer_path, scored.state)
    except CheckpointError as error:
        raise TrialFailure(str(error)) from error


def manifest_of(corpus: Corpus, design: Design, step: int, tokens: int) -> Manifest:
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
