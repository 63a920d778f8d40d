"""Full training of the winner of a search."""

import contextlib
import os
from collections.abc import Generator
from functools import partial

import torch

from codenas.checkpoint import Checkpoint, stored_at
from codenas.corpus import Corpus
from codenas.experiment.device import best_device
from codenas.experiment.full import FullTraining, train_fully
from codenas.experiment.jobs import TrainJob
from codenas.experiment.messages import recipe_line
from codenas.experiment.run import Run
from codenas.experiment.session import recorded_job
from codenas.experiment.splits import verify_corpus
from codenas.files import require_free_space
from codenas.interrupts import interrupts_deferred
from codenas.log import LOGGER, Progress
from codenas.search.result import SearchFolder
from codenas.train.curve import Step

DISK_MEGABYTES = 200


def train_winner(run: Run, job: TrainJob) -> Checkpoint:
    """Train the winner of the search of `run` fully, from the last stored rung of the search; resumes after an interruption.

    The recipe is that of the search, updated with the settings that `job` sets explicitly.

    Raises:
        RunError: the search is not finished, or the run holds a model that was trained with other settings.
        ConfigError: `job` has fewer steps than the search has trained.
        CheckpointError: the state to resume from belongs to another training, or is damaged.
        KeyboardInterrupt: with the current step, whose state is stored.
    """
    result, history = run.finished_search()
    home = SearchFolder(run.search)
    winner = history.trials[result.winner]
    assert winner.last is not None
    corpus, design = Corpus.open(run.corpus), winner.candidate.design
    vocabulary = verify_corpus(corpus.with_vocabulary(design.vocabulary))
    searched = recorded_job(home).train.model_copy(update={"seed": winner.candidate.seed})
    recipe = job.merged_recipe(searched)
    steps = job.steps_of(design.arch, vocabulary.size, recipe.batch_size)
    job.require_steps(steps, winner.last.rung)
    start = stored_at(home.checkpoints / winner.last.checkpoint)
    if start is None:
        LOGGER.info(f"train: {home.checkpoints / winner.last.checkpoint} is missing; training from scratch")
    torch.set_num_threads(job.threads or os.cpu_count() or 1)
    device, finished = best_device(), stored_at(run.model) is not None
    if not finished:
        run.require_writable()
        require_free_space(run.folder, DISK_MEGABYTES)
        LOGGER.info(f"train {winner.candidate.id}: {recipe_line(recipe.on(device), searched.on(device))}")
    plan = FullTraining(steps=steps, decay_share=job.decay_share, save_every=job.save_every)
    training = train_fully(corpus, design, recipe, plan, run.folder, start, device)
    return _follow(training, f"train {winner.candidate.id}", plan.steps)


def _loss_text(step: Step) -> str:
    return f"loss {float(step.loss):.3f}"


def _follow(training: Generator[Step, None, Checkpoint], label: str, steps: int) -> Checkpoint:
    """Train to the end and log the progress; an interrupt is handled after the current step, and the state is stored."""
    progress: Progress | None = None
    step: Step | None = None
    try:
        while True:
            with interrupts_deferred():
                step = next(training)
            if progress is None:
                progress = Progress(label, steps, initial=step.step - 1)
            progress.update(step.step, partial(_loss_text, step))
    except StopIteration as end:
        checkpoint: Checkpoint = end.value
        if progress is None:
            LOGGER.info(f"train: {checkpoint.path} is finished")
        return checkpoint
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            training.throw(KeyboardInterrupt())
        raise KeyboardInterrupt(f"at step {step.step:,} of {steps:,}" if step else "") from None
