"""`codenas train`: train the winner of a search on, to its end."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run, open_run
from codenas.interrupts import held

if TYPE_CHECKING:
    from codenas.checkpoint import Checkpoint
    from codenas.cli.job_file import TrainJob
    from codenas.search.history import History
    from codenas.search.result import SearchResult
    from codenas.train.course import Step


def train(
    run: Annotated[Path, typer.Option(help="The run whose winner is trained.")] = DEFAULT_RUN,
    job: Annotated[Path | None, typer.Option(help="A job file; its [train] table counts.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps in all, those of the search included.")] = None,
) -> None:
    """Train the winner of a search on to its end. Interrupted, it goes on where it was."""
    from codenas.cli.job_file import TrainJob, load_job
    from codenas.cli.options import settings_of

    wanted = load_job(job).train
    if steps is not None:
        wanted = settings_of(TrainJob, {**dict(wanted), "steps": steps, "compute": None})
    with open_run(run, new=False) as opened:
        checkpoint = train_winner(opened, wanted)
    typer.echo(f"{checkpoint.path}: {checkpoint.manifest.step:,} steps, {checkpoint.size_bytes / 1e6:.2f} MB")


def train_winner(run: Run, job: "TrainJob") -> "Checkpoint":
    """Train the winner of the search of `run`; the stage behind the command and the demo."""
    result, history = _finished_search(run)
    import torch  # not before: a run without a search is told at once

    from codenas.checkpoint import stored_at
    from codenas.corpus import Corpus
    from codenas.experiment.full import FullTraining, train_fully
    from codenas.experiment.splits import verify_corpus
    from codenas.experiment.training import best_device
    from codenas.files import require_free_space
    from codenas.log import LOGGER
    from codenas.search.result import SearchFolder

    home = SearchFolder(run.search)
    winner = history.trials[result.winner]
    assert winner.last is not None
    corpus, design = Corpus.open(run.corpus), winner.candidate.design
    vocabulary = verify_corpus(corpus.with_vocabulary(design.vocabulary))
    steps = job.steps_of(design.arch, vocabulary.size)
    require_more_steps(job, steps, winner.last.rung)
    start = stored_at(home.checkpoints / winner.last.checkpoint)
    if start is None:
        LOGGER.info(f"train: {home.checkpoints / winner.last.checkpoint} is gone; training from the first step")
    torch.set_num_threads(job.threads or os.cpu_count() or 1)
    if stored_at(run.model) is None:
        run.require_writable()
        require_free_space(run.folder, 200)
    plan = FullTraining(steps=steps, decay_share=job.decay_share, save_every=job.save_every)
    config = job.recipe.model_copy(update={"seed": winner.candidate.seed})
    training = train_fully(corpus, design, config, plan, run.folder, start, best_device())
    return _follow(training, f"train {winner.candidate.id}", plan.steps)


def _finished_search(run: Run) -> "tuple[SearchResult, History]":
    from codenas.errors import RunError
    from codenas.search.result import SearchFolder

    finished = SearchFolder(run.search).finished()
    if finished is None:
        raise RunError(f"{run.search} holds no finished search; run `codenas search` first")
    return finished


def require_more_steps(job: "TrainJob", steps: int, trained: int) -> None:
    """Raise `ConfigError` where `steps` in all, as `job` has them, are fewer than a search trains its winner."""
    from codenas.errors import ConfigError

    raised = "--steps or train.steps" if job.compute is None else "train.compute"
    if steps < trained:
        raise ConfigError(f"{steps:,} training steps in all are fewer than the {trained:,} of the search; raise {raised}")


def _follow(training: "Generator[Step, None, Checkpoint]", label: str, steps: int) -> "Checkpoint":
    """Train to the end, saying how far it is; an interrupt waits for the end of a step and for the state to be stored."""
    from codenas.log import LOGGER, Progress

    progress: Progress | None = None
    step: Step | None = None
    try:
        while True:
            with held():
                step = next(training)
            if progress is None:
                progress = Progress(label, steps, already=step.step - 1)
            progress.update(step.step, f"loss {step.loss:.3f}")
    except StopIteration as end:
        checkpoint: Checkpoint = end.value
        if progress is None:
            LOGGER.info(f"train: {checkpoint.path} is finished")
        return checkpoint
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            training.throw(KeyboardInterrupt())
        raise KeyboardInterrupt(f"at step {step.step:,} of {steps:,}" if step else "") from None
