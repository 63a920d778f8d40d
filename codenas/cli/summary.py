"""What a run found, as tables."""

import typer

from codenas.cli.console import console
from codenas.cli.report import write_report
from codenas.experiment.run import Run
from codenas.experiment.summary import FrontMember, Summary
from codenas.log import duration
from codenas.report.fidelity import fidelity_lines
from codenas.report.front import draw_front
from codenas.report.quality import quality_table
from codenas.report.tables import FrontRow, front_table, metric_figures, search_counts, summary_lines, winner_line, worker_utilisation
from codenas.search.fitness import Objective
from codenas.search.history import History


def front_member(row: FrontRow) -> FrontMember:
    """A row of the front as it is stored."""
    return FrontMember(id=row.id, design=row.design, metrics=row.metrics, rung=row.rung, winner=row.winner, scores=row.scores)


def show_summary(run: Run, summary: Summary, history: History, rows: list[FrontRow], objectives: tuple[Objective, ...]) -> None:
    """One table of the front, one of the model, the picture, and the next command."""
    if run.writable:
        draw_front(history.trials, rows, objectives, run.picture)
        write_report(run)
    screen = console()
    screen.print(
        front_table(rows, f"Pareto front after {rows[0].rung} steps (★ was trained in full)", [each.metric for each in objectives])
    )
    screen.print(quality_table(summary.evaluation))
    for warning in summary.evaluation.warnings:
        screen.print(f"[bold red]{warning}")
    for line in summary_lines([*metric_figures(summary.model.metrics), *_search_figures(summary), *_cost_figures(summary)]):
        typer.echo(line)
    places = [("report", run.report), ("picture", run.picture), ("summary", run.summary), ("model", run.model)]
    lines = "\n".join(f"{name:<8}  {path}" for name, path in places)
    typer.echo(f"\n{lines}\n\nServe it again:\n  {summary.serve_again}")


def _search_figures(summary: Summary) -> list[tuple[str, str]]:
    search = summary.search
    return [
        ("search", search_counts(search)),
        ("winner", winner_line(search)),
        ("worker utilisation", worker_utilisation(search)),
        *(("fidelity", line) for line in fidelity_lines(search.fidelity)),
    ]


def _cost_figures(summary: Summary) -> list[tuple[str, str]]:
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in summary.stage_seconds.items())
    return [
        ("time", f"{duration(sum(summary.stage_seconds.values()))} in this session: {stages}"),
        ("memory", f"{summary.peak_memory_bytes / 1e9:.2f} GB at most in all processes"),
    ]
