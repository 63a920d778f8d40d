"""`codenas train`: what it refuses, and that an interrupt loses no step and changes no bit."""

import shutil
import signal
from pathlib import Path
from typing import SupportsFloat

import pytest
import torch
from typer.testing import CliRunner, Result

from codenas.arch.cost import training_flops_per_token
from codenas.checkpoint import Checkpoint
from codenas.cli.app import app
from codenas.corpus import Corpus
from codenas.experiment.jobs import SearchJob, TrainJob
from codenas.experiment.local import search_locally
from codenas.experiment.run import Run
from codenas.experiment.winner import train_winner
from codenas.search.result import SearchFolder
from codenas.train.config import TrainConfig
from codenas.train.feed import Feed
from codenas.train.trainer import Trainer
from tests.experiment.test_session import JOB as SEARCH
from tests.fakes import SMALL_SEARCH, tiny_corpus

TRAIN = TrainJob(steps=4, threads=1, recipe=TrainConfig(batch_size=2, precision="float32", warmup_steps=1))
JOB = f"""{SMALL_SEARCH}
[train]
steps = 20
save_every = 1000
threads = 1
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    corpus, job = tiny_corpus(tmp_path / "corpus"), tmp_path / "job.toml"
    job.write_text(JOB)
    searched = _codenas("search", tmp_path / "run", "--no-ray", "--corpus", str(corpus.path))
    assert searched.exit_code == 0, searched.stderr
    return tmp_path / "run"


def _codenas(command: str, run: Path, *more: str) -> Result:
    return CliRunner().invoke(app, [command, "--run", str(run), "--job", str(run.parent / "job.toml"), *more])


def test_fewer_steps_than_the_search_are_refused(run: Path) -> None:
    done = _codenas("train", run, "--steps", "3")
    assert done.exit_code == 2
    assert done.stderr == "codenas: 3 training steps in all are fewer than the 4 of the search; raise --steps or train.steps\n"
    assert not (run / "model").exists()


def test_compute_says_how_many_steps_the_winner_takes(run: Path) -> None:
    job, one_step = run.parent / "job.toml", flops_of_a_step(run)
    job.write_text(JOB.replace("steps = 20", f"compute = {3 * one_step}"))
    fewer = _codenas("train", run)
    assert fewer.exit_code == 2
    assert fewer.stderr == "codenas: 3 training steps in all are fewer than the 4 of the search; raise train.compute\n"
    job.write_text(JOB.replace("steps = 20", f"compute = {7.4 * one_step}"))
    done = _codenas("train", run)
    assert done.exit_code == 0 and ": 7 steps, " in done.stdout
    assert _codenas("train", run, "--steps", "7").exit_code == 0, "an option takes the place of what the job says"


def flops_of_a_step(run: Path) -> float:
    finished = SearchFolder(run / "search").finished()
    assert finished is not None
    arch = finished[1].trials[finished[0].winner].candidate.arch
    return (
        training_flops_per_token(arch, Corpus.open(Run(run).corpus).manifest.vocab_size) * arch.context_len * SearchJob().train.batch_size
    )


def test_other_steps_than_those_of_a_finished_model_are_refused_in_one_line(run: Path) -> None:
    assert _codenas("train", run, "--steps", "6").exit_code == 0
    again = _codenas("train", run, "--steps", "6")
    assert (again.exit_code, again.stderr) == (0, f"train: {run}/model is finished\n")
    other = _codenas("train", run, "--steps", "7")
    assert other.exit_code == 2
    assert other.stderr.startswith(f"codenas: {run}/model was trained with steps 6 (now 7)") and other.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_of_a_step_loses_nothing(run: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer._step

    def interrupted(trainer: Trainer, feed: Feed) -> SupportsFloat:
        loss = whole(trainer, feed)
        if trainer.step == 9:
            signal.raise_signal(number)
        return loss

    before = signal.signal(number, signal.default_int_handler)  # a test in the background inherits that SIGINT is ignored
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_step", interrupted)
            stopped = _codenas("train", run)
    finally:
        signal.signal(number, before)
    assert stopped.exit_code == 130
    output = stopped.stderr.splitlines()[-1]
    assert output == "codenas: interrupted at step 9 of 20; finished work is kept, run the same command again to continue"
    assert Checkpoint.open(run / "last").manifest.step == 9
    assert _codenas("train", run).exit_code == 0
    resumed = Checkpoint.open(run / "model").load_model().state_dict()
    (run / "model").rename(run / "resumed")
    assert _codenas("train", run).exit_code == 0
    undisturbed = Checkpoint.open(run / "model").load_model().state_dict()
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_a_winner_whose_checkpoint_was_removed_is_trained_from_the_first_step_to_the_same_weights(tmp_path: Path) -> None:
    """So the way out of a broken checkpoint, to remove it, is one."""
    run = Run(tmp_path)
    search_locally(SEARCH, tiny_corpus(run.corpus), run.search)
    whole = train_winner(run, TRAIN)
    for folder in (run.model, run.search / "checkpoints"):
        shutil.rmtree(folder)
    again = train_winner(run, TRAIN)
    assert again.manifest.step == whole.manifest.step == 4
    assert again.manifest.weights_sha256 == whole.manifest.weights_sha256


def test_the_recipe_of_the_search_is_trained_by_unless_the_job_says_otherwise(run: Path) -> None:
    """Search at a batch size of 4, the job's default: 8 would be the default of a recipe by itself."""
    done = _codenas("train", run, "--steps", "5")
    assert "the recipe of the search\n" in done.stderr and "batch_size 4" in done.stderr
    assert Checkpoint.open(run / "model").manifest.training["batch_size"] == 4
    shutil.rmtree(run / "model")
    (run.parent / "job.toml").write_text(f"{JOB}[train.recipe]\nbatch_size = 6\n")
    done = _codenas("train", run, "--steps", "5")
    assert "the recipe of the search with batch_size 6 instead of 4" in done.stderr
    assert "is resumed with other settings: batch_size 4 (now 6)" in done.stderr
    assert Checkpoint.open(run / "model").manifest.training["batch_size"] == 6


def test_another_optimizer_than_that_of_the_search_is_refused_in_one_line(run: Path) -> None:
    (run.parent / "job.toml").write_text(f'{JOB}[train.recipe]\noptimizer = "adamw"\n')
    done = _codenas("train", run)
    assert done.exit_code == 2 and not (run / "model").exists()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("codenas: ") and "was trained with optimizer muon (now adamw), and cannot be resumed with another" in last
