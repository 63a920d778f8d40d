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
    follow: Annotated[bool, typer.Option("--follow", help="Show it again and again, until the search is finished.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show the progress of a run: candidates per rung, the best, the Pareto front, what runs now, and the ETA.

    Only files are read, so it works beside a running search, and on what a cluster writes into a shared folder.
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
        for seen in _looks(Run(run), every):
            live.update(view(seen), refresh=True)
            if not screen.is_terminal and headline(seen) != last:  # there `live` shows the end alone
                last = headline(seen)
                typer.echo(last)


def _looks(run: Run, every: float) -> "Iterator[RunStatus]":
    """A look at `run` every so many seconds, the last one when its search is finished."""
    from codenas.experiment.status import read_status

    while True:
        seen = read_status(run)
        yield seen
        if seen.result is not None:
            return
        threading.Event().wait(every)


def headline(seen: "RunStatus") -> str:
    """The run in one line."""
    from codenas.report.status import progress_line

    progress = "not started" if seen.config is None else progress_line(seen.trials, seen.config, seen.result is not None, seen.pace)
    return f"{seen.run.folder}: search {progress}"


def view(seen: "RunStatus") -> "Group":
    """The run in full."""
    from rich.console import Group
    from rich.text import Text

    from codenas.report.front import front_rows
    from codenas.report.status import highest_rung, rung_statuses, rungs_table
    from codenas.report.tables import front_table, summary_lines

    parts: list[object] = [Text(headline(seen))]
    if seen.config is not None:
        parts.append(rungs_table(rung_statuses(seen.trials, seen.config), seen.holder is not None))
        if (rung := highest_rung(seen.trials)) is not None:
            winner = seen.result.winner if seen.result else -1
            rows = front_rows(seen.trials, winner, rung, seen.config.objectives)
            parts.append(front_table(rows, f"Pareto front after {rung:,} steps"))
    parts += [Text(line) for line in summary_lines(_stages(seen))]
    return Group(*parts)  # type: ignore[arg-type]


def _stages(seen: "RunStatus") -> list[tuple[str, str]]:
    from codenas.report.tables import winner_line

    model, interrupted = seen.run.model.exists(), (seen.run.folder / "last").exists()
    stages = [
        ("corpus", str(seen.run.corpus) if seen.run.corpus.exists() else "not prepared"),
        ("model", str(seen.run.model) if model else "its training is resumed from a stored state" if interrupted else "not trained"),
        ("evaluation", str(seen.run.evaluation) if seen.run.evaluation.exists() else "not evaluated"),
    ]
    at_work = f"process {seen.holder}" if seen.holder is not None else "no process of this machine"
    resume = [("to resume", f"codenas search --resume {seen.run.folder}")] if seen.unfinished else []
    won = [("winner", winner_line(seen.result))] if seen.result is not None else []
    return [*won, *stages, ("at work", at_work), *resume]
