"""`codenas status`: the progress of a run, read from its files alone."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group

    from codenas.experiment.status import RunStatus


def status(
    run: Annotated[Path, typer.Argument(help="The run's folder.")] = DEFAULT_RUN,
    follow: Annotated[bool, typer.Option("--follow", help="Update the view until the search is finished.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates.")] = 2.0,
) -> None:
    """Show the progress of a run: candidates per rung, the best, the Pareto front, what runs now, and the ETA.

    Only files are read, so it works during a search, and on shared folders of a cluster.
    """
    from rich.live import Live

    from codenas.cli.console import console
    from codenas.experiment.status import read_status

    screen = console()
    if not follow:
        screen.print(view(read_status(Run(run))))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=screen, auto_refresh=False) as live:
        last = ""
        for current in _snapshots(Run(run), every):
            live.update(view(current), refresh=True)
            if not screen.is_terminal and headline(current) != last:  # there `live` shows the end alone
                last = headline(current)
                typer.echo(last)


def _snapshots(run: Run, every: float) -> "Iterator[RunStatus]":
    """The status of `run` every `every` seconds, until its search is finished."""
    from codenas.experiment.status import read_status

    while True:
        current = read_status(run)
        yield current
        if current.result is not None or current.no_winner is not None:
            return
        threading.Event().wait(every)


def headline(current: "RunStatus") -> str:
    """The run in one line."""
    from codenas.report.status import progress_line

    progress = (
        "not started" if current.config is None else progress_line(current.trials, current.config, current.result is not None, current.pace)
    )
    return f"{current.run.folder}: search {progress}"


def view(current: "RunStatus") -> "Group":
    """The run in full."""
    from rich.console import Group
    from rich.text import Text

    from codenas.evaluate.evaluation import stored_evaluation
    from codenas.report.front import front_rows
    from codenas.report.quality import quality_table
    from codenas.report.status import highest_rung, rung_statuses, rungs_table
    from codenas.report.tables import front_table, summary_lines

    parts: list[object] = [Text(headline(current))]
    if current.config is not None:
        parts.append(rungs_table(rung_statuses(current.trials, current.config), current.holder is not None))
        if (rung := highest_rung(current.trials)) is not None:
            winner = current.result.winner if current.result else -1
            rows = front_rows(current.trials, winner, rung, current.config.objectives)
            objectives = [each.metric for each in current.config.objectives]
            parts.append(front_table(rows, f"Pareto front after {rung:,} steps", objectives))
    parts += [Text(line) for line in summary_lines(_stages(current))]
    if (evaluation := stored_evaluation(current.run.evaluation)) is not None:
        parts.append(quality_table(evaluation))
    return Group(*parts)  # type: ignore[arg-type]


def _stages(current: "RunStatus") -> list[tuple[str, str]]:
    from codenas.report.tables import winner_line

    model, interrupted = current.run.model.exists(), (current.run.folder / "last").exists()
    stages = [
        ("corpus", str(current.run.corpus) if current.run.corpus.exists() else "not prepared"),
        ("model", str(current.run.model) if model else "its training is resumed from a stored state" if interrupted else "not trained"),
        ("evaluation", str(current.run.evaluation) if current.run.evaluation.exists() else "not evaluated"),
    ]
    at_work = f"process {current.holder}" if current.holder is not None else "no process of this machine"
    resume = [("to resume", f"codenas search --resume {current.run.folder}")] if current.unfinished else []
    won = [("winner", winner_line(current.result))] if current.result is not None else []
    ended = [("winner", f"none: {current.no_winner}")] if current.no_winner is not None else []
    return [*won, *ended, *stages, ("at work", at_work), *resume]
