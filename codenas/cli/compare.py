"""`codenas compare`: a comparison of finished searches."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import Run

if TYPE_CHECKING:
    from codenas.report.compare import FinishedSearch


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs whose searches are finished.")],
    picture: Annotated[Path | None, typer.Option(help="Also draw the Pareto fronts over each other, as a PNG.")] = None,
) -> None:
    """Compare the winners of several runs, what they cost, and whether their difference is significant.

    Runs of one job that differ only in the seed ([search] seed = ...) are repetitions. The spread of their winners gives the least
    significant difference between two jobs; without repetitions significance is not assessed.
    """
    from codenas.cli.console import console
    from codenas.errors import ConfigError
    from codenas.evaluate.evaluation import stored_evaluation
    from codenas.files import require_writable_file
    from codenas.report.compare import comparison_table, difference_lines, distinct_names, draw_comparison, fidelity_of_runs
    from codenas.report.quality import qualities_table

    folders = list(dict.fromkeys(run.absolute() for run in runs))
    if len(folders) < 2:
        raise ConfigError(f"{runs[0]} alone cannot be compared; name two or more runs")
    searches = [finished_search(Run(folder), name) for folder, name in zip(folders, distinct_names(folders), strict=True)]
    if picture is not None:
        require_writable_file(picture)
    console().print(comparison_table(searches))
    found = {search.name: stored_evaluation(Run(folder).evaluation) for folder, search in zip(folders, searches, strict=True)}
    if evaluations := {name: evaluation for name, evaluation in found.items() if evaluation is not None}:
        console().print(qualities_table(evaluations))
    for line in [*difference_lines(searches), *fidelity_of_runs(searches)]:
        typer.echo(line)
    if picture is not None:
        draw_comparison(searches, picture)
        typer.echo(f"picture: {picture}")


def finished_search(run: Run, name: str) -> "FinishedSearch":
    """The finished search of `run`, called `name`.

    Raises:
        RunError: it is no run, or its search is not finished.
        ConfigError: its job is of another version.
    """
    from codenas.errors import RunError
    from codenas.experiment.jobs import migrated_job
    from codenas.report.compare import FinishedSearch
    from codenas.report.front import front_rows
    from codenas.search.config import SearchConfig
    from codenas.search.fidelity import fidelities
    from codenas.search.result import SearchFolder

    run.require_started()
    home = SearchFolder(run.search)
    claim, finished = home.claimed(), home.finished()
    if claim is None or finished is None:
        raise RunError(f"the search of {run.folder} is not finished; see `codenas status {run.folder}`, and compare it afterwards")
    (result, history), config = finished, SearchConfig.of_job(claim.job)
    job = json.loads(migrated_job(claim.job))
    return FinishedSearch(
        name=name,
        question=json.dumps([{**job, "seed": None}, claim.corpus], sort_keys=True),
        scored_on=json.dumps([claim.corpus, job.get("trial", {}).get("score_tokens")]),
        seed=config.seed,
        rows=tuple(front_rows(history.trials, result.winner, config.budget.rungs[-1], config.objectives)),
        steps=result.steps,
        scoring_steps=result.scoring_steps,
        fidelity=fidelities(history.trials, config.budget.rungs),
        seconds=sum(report.seconds for trial in history.trials for report in trial.all_reports),
        objectives=tuple(each.metric for each in config.objectives),
    )
