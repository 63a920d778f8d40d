"""Full training of a winner, resumed from its last rung in the search."""

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
from codenas.experiment.resume import Difference, differences, stored_recipe
from codenas.experiment.training import TrainingSubject, load_trainer, store
from codenas.metrics import Metrics
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.train.trainer import Trainer


@dataclass(slots=True, frozen=True)
class FullTraining:
    """The schedule of a full training: constant learning rate, then linear decay over the last `decay_share` of all steps."""

    steps: int
    decay_share: float
    save_every: int

    @property
    def decay_from(self) -> int:
        """The first step with a lower learning rate."""
        return round(self.steps * (1 - self.decay_share))

    @property
    def schedule(self) -> dict[str, int]:
        """The stored settings on which learning rates depend beside the recipe."""
        return {"steps": self.steps, "decay_from": self.decay_from}


def train_fully(
    corpus: Corpus,
    design: Design,
    config: TrainConfig,
    plan: FullTraining,
    folder: Path,
    start: Checkpoint | None = None,
    device: str = "cpu",
) -> Generator[Step, None, Checkpoint]:
    """Train `design` until it has `plan.steps` steps in total, from `start` or from scratch; yields every step.

    Stores the state in `folder`/last every `save_every` steps, and when a `KeyboardInterrupt` is thrown in, and resumes from it;
    the result is `folder`/model. A precision of `auto` matches any.

    Raises:
        CheckpointError: the state to resume from belongs to another training, see `codenas.experiment.resume`.
        CorpusError: `corpus` lacks the vocabulary of the design.
        RunError: `folder`/model was trained with other settings, or `folder`/last is in the decay phase of a training of another length.
    """
    final, last = folder / "model", folder / "last"
    corpus = corpus.with_vocabulary(design.vocabulary)
    if (finished := stored_at(final)) is not None:
        _require_trained_as(finished, corpus, design, config, plan, device)
        return finished
    interrupted = stored_at(last)
    if interrupted is not None:
        _require_same_rates(interrupted, plan)

    def recipe(trainer: Trainer) -> dict[str, Any]:
        return {**trainer.config.model_dump(mode="json"), **plan.schedule}

    trainer = load_trainer(corpus, design, config, device, interrupted or start)
    subject = TrainingSubject(corpus, design, _untrained_metrics(corpus, design, start))
    for step in trainer.run_to(plan.steps, plan.decay_from):
        try:
            yield step
        except KeyboardInterrupt:  # thrown between two steps, where the state is consistent
            store(trainer, last, subject, recipe(trainer))
            raise
        if trainer.step % plan.save_every == 0 and trainer.step < plan.steps:
            store(trainer, last, subject, recipe(trainer))
    stored = store(trainer, final, subject, recipe(trainer), start.manifest.weights_sha256 if start is not None else None)
    shutil.rmtree(last, ignore_errors=True)
    return stored


def _untrained_metrics(corpus: Corpus, design: Design, start: Checkpoint | None) -> Metrics:
    """The metrics of `design` before training: those that a search measured, if it stored the weights in the same way."""
    if start is not None and (start.manifest.arch, start.manifest.storage) == (design.stored_arch, design.storage):
        return start.manifest.metrics
    return Metrics(params=parameters(design.stored_arch, corpus.manifest.vocab_size))


def _require_trained_as(finished: Checkpoint, corpus: Corpus, design: Design, config: TrainConfig, plan: FullTraining, device: str) -> None:
    """Raise `RunError` unless `finished` is what this training would store."""
    finished.verify()
    trained = stored_recipe(finished)
    automatic = ("precision",) if config.precision == "auto" else ()
    changed = [each for each in differences(finished, corpus, design, config.on(device)) if each.name not in automatic]
    changed += [Difference(name, trained.get(name), wanted) for name, wanted in plan.schedule.items() if trained.get(name) != wanted]
    if changed:
        raise RunError(f"{finished.path} was trained with {changed[0]}; remove it to train it again, or choose another --run")


def _require_same_rates(interrupted: Checkpoint, plan: FullTraining) -> None:
    """Raise `RunError` where the rates of `interrupted` were already falling, or would be, on the way to another end."""
    trained, step = stored_recipe(interrupted), interrupted.manifest.step
    stored = {name: int(trained.get(name, 0)) for name in plan.schedule}
    if stored != plan.schedule and step > min(stored["decay_from"], plan.decay_from):
        raise RunError(
            f"{interrupted.path} is at step {step:,} of {stored['steps']:,}, its rates decay from step {stored['decay_from']:,}; for "
            f"{plan.steps:,} steps they decay from {plan.decay_from:,}: train to {stored['steps']:,} steps, or remove {interrupted.path}"
        )
