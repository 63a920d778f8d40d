"""`codenas train`: train the winner of a search to its end."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.cli.overrides import Overrides
from codenas.experiment.run import DEFAULT_RUN, open_run


def train(
    run: Annotated[Path, typer.Option(help="The run whose winner is trained.")] = DEFAULT_RUN,
    job: Annotated[Path | None, typer.Option(help="A job file; its [train] table is used.")] = None,
    overrides: Overrides = None,
    steps: Annotated[int | None, typer.Option(help="Training steps in all, those of the search included.")] = None,
) -> None:
    """Train the winner of a search to its end, by the recipe of the search. An interrupted training is resumed."""
    from codenas.cli.job_file import load_job
    from codenas.cli.options import settings_of
    from codenas.experiment.jobs import TrainJob

    wanted = load_job(job, overrides or ()).train
    if steps is not None:
        wanted = settings_of(TrainJob, {**dict(wanted), "steps": steps, "compute": None})
    with open_run(run, new=False) as opened:
        opened.finished_search()  # refused where there is none, before seconds go into the import of torch
        from codenas.experiment.winner import train_winner

        checkpoint = train_winner(opened, wanted)
    typer.echo(f"{checkpoint.path}: {checkpoint.manifest.step:,} steps, {checkpoint.size_bytes / 1e6:.2f} MB")
