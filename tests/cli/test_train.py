"""Training the winner on: also where the checkpoint that it would go on from is gone."""

import shutil
from pathlib import Path

from codenas.cli.job import TrainJob
from codenas.cli.run import Run
from codenas.cli.train import train_winner
from codenas.train import TrainConfig
from tests.fakes import tiny_corpus
from tests.tune_jobs.test_resumable import JOB
from tune_jobs.local import search_here

TRAIN = TrainJob(steps=4, threads=1, recipe=TrainConfig(batch_size=2, precision="float32", warmup_steps=1))


def test_a_winner_whose_checkpoint_was_removed_is_trained_from_the_first_step_to_the_same_weights(tmp_path: Path) -> None:
    """So the way out of a broken checkpoint, to remove it, is one."""
    run = Run(tmp_path)
    search_here(JOB, tiny_corpus(run.corpus), run.search)
    whole = train_winner(run, TRAIN)
    for folder in (run.model, run.search / "checkpoints"):
        shutil.rmtree(folder)
    again = train_winner(run, TRAIN)
    assert again.manifest.step == whole.manifest.step == 4
    assert again.manifest.weights_sha256 == whole.manifest.weights_sha256
