"""`codenas search study`: the history of a search as a study of Optuna's."""

import contextlib
import threading
from pathlib import Path
from typing import Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run


def study(
    output: Annotated[Path, typer.Option(help="Where the study is stored, as SQLite.")],
    run: Annotated[Path, typer.Option(help="The run's folder.")] = DEFAULT_RUN,
    rung: Annotated[int | None, typer.Option(min=1, help="Steps after which candidates are compared. [default: the first rung]")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Add candidates as they report, until the search is finished.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates.")] = 2.0,
) -> None:
    """Store the history of a search, of whatever strategy, as a study: `optuna-dashboard sqlite:///FILE` opens it."""
    from codenas.corpus import Corpus
    from codenas.experiment.jobs import SearchJob
    from codenas.experiment.session import checked_plan
    from codenas.files import require_writable_file
    from codenas.search.design_space import observations
    from codenas.search.result import SearchFolder
    from codenas.search.strategies.optuna_samplers import extend_study, write_study
    from codenas.search.strategies.registry import require_modules

    require_modules("the study", ("optuna",))
    require_writable_file(output)  # or SQLAlchemy answers by a page
    home = SearchFolder(Run(run).search)
    job = SearchJob.model_validate_json(home.job())
    plan = checked_plan(job, Corpus.open(Run(run).corpus), home)
    compared = rung or plan.budget.rungs[0]
    finished = home.result() is not None
    known = [trial for trial in home.history().trials if trial.settled(compared)]
    write_study(plan.problem(), observations(known, compared, plan.objectives), output, str(run))
    typer.echo(f"{len(known)} candidates: optuna-dashboard sqlite:///{output}")
    with contextlib.suppress(KeyboardInterrupt):
        while follow and not finished:
            threading.Event().wait(every)
            finished = home.result() is not None  # first: what is written between the two looks is seen by the second
            known = [trial for trial in home.history().trials if trial.settled(compared)]
            extend_study(plan.problem(), observations(known, compared, plan.objectives), output, str(run))
    if follow:
        typer.echo(f"{len(known)} candidates, {'the search is finished' if finished else 'the search is running'}")
