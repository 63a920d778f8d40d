"""The training of a winner to its end, from the rung where a search left it."""

import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codenas.arch.cost import parameters
from codenas.arch.design import Design
from codenas.checkpoint import Checkpoint, stored_at
from codenas.corpus import Corpus
from codenas.errors import RunError
from codenas.experiment.training import Subject, load_trainer, store
from codenas.metrics import Metrics
from codenas.train.config import TrainConfig
from codenas.train.course import Step


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
