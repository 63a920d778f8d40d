"""`codenas search tensorboard`: the history of a search as TensorBoard event files."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run


def tensorboard(
    output: Annotated[Path, typer.Option(help="Folder for the event files.")],
    run: Annotated[Path, typer.Option(help="The run's folder.")] = DEFAULT_RUN,
) -> None:
    """Export losses, metrics and choices of all candidates of a search, finished or not; view them with `tensorboard --logdir FOLDER`."""
    from codenas.report.tensorboard import NEEDS, write_events
    from codenas.search.config import SpaceChoice
    from codenas.search.result import SearchFolder
    from codenas.search.strategies.registry import require_modules

    require_modules("the export", NEEDS)
    home = SearchFolder(Run(run).search)
    space, trials = SpaceChoice.of_job(home.job()).search_space(), home.history().trials
    write_events(trials, [space.flatten(trial.candidate.design) for trial in trials], output)
    typer.echo(f"{len(trials)} candidates: tensorboard --logdir {output}")
