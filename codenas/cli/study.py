"""`codenas search study`: the history of a search as a study of Optuna's."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.cli.run import DEFAULT_RUN, Run


def study(
    output: Annotated[Path, typer.Option(help="Where the study is stored, as SQLite.")],
    run: Annotated[Path, typer.Option(help="The run's folder.")] = DEFAULT_RUN,
    rung: Annotated[int | None, typer.Option(min=1, help="Steps after which candidates are compared. [default: the first rung]")] = None,
) -> None:
    """Store the history of a search, of whatever strategy, as a study: `optuna-dashboard sqlite:///FILE` opens it."""
    from codenas.corpus import Corpus
    from codenas.search.design_space import seen
    from codenas.search.optuna_search import write_study
    from codenas.search.result import SearchFolder
    from codenas.search.strategies import require_modules
    from tune_jobs.config import SearchJob
    from tune_jobs.resumable import possible_plan

    require_modules("the study", ("optuna",))
    home = SearchFolder(Run(run).search)
    job, history = SearchJob.model_validate_json(home.job()), home.history()
    plan = possible_plan(job, Corpus.open(Run(run).corpus), home)
    trials = seen(history.trials, rung or plan.budget.rungs[0], plan.objectives)
    write_study(plan.problem(), trials, output, str(run))
    typer.echo(f"{len(trials)} candidates: optuna-dashboard sqlite:///{output}")
