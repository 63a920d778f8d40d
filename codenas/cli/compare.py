"""`codenas compare`: finished searches beside each other."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import Run

if TYPE_CHECKING:
    from codenas.report.compare import Finding


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs whose searches are finished.")],
    picture: Annotated[Path | None, typer.Option(help="Draw the fronts over each other too, as a PNG.")] = None,
) -> None:
    """Show what won in each run, what it cost, and whether the difference is more than luck.

    Runs of one job that differ in its seed alone ([search] seed = ...) are repetitions. How far their winners lie apart is what
    a difference between two jobs has to exceed; without a repetition nobody can tell, and this says so.
    """
    from codenas.cli.console import console
    from codenas.errors import ConfigError
    from codenas.report.compare import comparison_table, draw_comparison, fidelity_of_runs, named_apart, verdict_lines

    folders = list(dict.fromkeys(run.absolute() for run in runs))
    if len(folders) < 2:
        raise ConfigError(f"{runs[0]} alone has nothing to be compared with; name two runs or more")
    findings = [finding_of(Run(folder), name) for folder, name in zip(folders, named_apart(folders), strict=True)]
    console().print(comparison_table(findings))
    for line in [*verdict_lines(findings), *fidelity_of_runs(findings)]:
        typer.echo(line)
    if picture is not None:
        draw_comparison(findings, picture)
        typer.echo(f"picture: {picture}")


def finding_of(run: Run, name: str) -> "Finding":
    """What the search of `run` found.

    Raises:
        RunError: it is no run, or its search is not finished.
        ConfigError: its job is of another version.
    """
    from codenas.errors import RunError
    from codenas.experiment.jobs import present_job
    from codenas.report.compare import Finding
    from codenas.report.front import front_rows
    from codenas.search.config import SearchConfig
    from codenas.search.fidelity import fidelities
    from codenas.search.result import SearchFolder

    run.require_begun()
    home = SearchFolder(run.search)
    claim, finished = home.claimed(), home.finished()
    if claim is None or finished is None:
        raise RunError(f"the search of {run.folder} is not finished; see `codenas status {run.folder}`, and compare it afterwards")
    (result, history), config = finished, SearchConfig.of_job(claim.job)
    job = json.loads(present_job(claim.job))
    return Finding(
        name=name,
        question=json.dumps([{**job, "seed": None}, claim.corpus], sort_keys=True),
        scored_on=json.dumps([claim.corpus, job.get("trial", {}).get("score_tokens")]),
        seed=config.seed,
        rows=tuple(front_rows(history.trials, result.winner, config.budget.rungs[-1], config.objectives)),
        steps=result.steps,
        scoring_steps=result.scoring_steps,
        fidelity=fidelities(history.trials, config.budget.rungs),
        seconds=sum(report.seconds for trial in history.trials for report in trial.all_reports),
    )
