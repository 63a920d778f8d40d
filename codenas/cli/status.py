"""`codenas status`: how far a run is. It reads the run's files, and asks nothing of the process that works on it."""

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group

    from codenas.report.status import Pace
    from codenas.search.candidate import Trial
    from codenas.search.config import SearchConfig
    from codenas.search.result import SearchFolder, SearchResult


def status(
    run: Annotated[Path, typer.Argument(help="The run's folder.")] = DEFAULT_RUN,
    follow: Annotated[bool, typer.Option("--follow", help="Show it again and again, until the search is finished.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show how far a run is: candidates per rung, the best, the front, what runs now, and about how long it takes.

    Only files are read, so it works beside a running search, and on what a cluster writes into a shared folder.
    """
    from rich.live import Live

    from codenas.cli.console import console

    screen = console()
    if not follow:
        screen.print(read_status(Run(run)).view())
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=screen, auto_refresh=False) as live:
        told = ""
        for seen in _looks(Run(run), every):
            live.update(seen.view(), refresh=True)
            if not screen.is_terminal and seen.headline() != told:  # there `live` shows the end alone
                told = seen.headline()
                typer.echo(told)


def _looks(run: Run, every: float) -> "Iterator[RunStatus]":
    """A look at `run` every so many seconds, the last one when its search is finished."""
    while True:
        seen = read_status(run)
        yield seen
        if seen.result is not None:
            return
        threading.Event().wait(every)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What the files of a run say. `config` is None before its search; `holder` is the process of this machine that works on it."""

    run: Run
    config: "SearchConfig | None"
    trials: "tuple[Trial, ...]"
    result: "SearchResult | None"
    holder: int | None
    pace: "Pace | None"

    def headline(self) -> str:
        """The run in one line."""
        from codenas.report.status import progress_line

        told = "not begun" if self.config is None else progress_line(self.trials, self.config, self.result is not None, self.pace)
        return f"{self.run.folder}: search {told}"

    def view(self) -> "Group":
        """The run in full."""
        from rich.console import Group
        from rich.text import Text

        from codenas.report.front import front_rows
        from codenas.report.status import highest_rung, rung_statuses, rungs_table
        from codenas.report.tables import front_table, summary_lines

        parts: list[object] = [Text(self.headline())]
        if self.config is not None:
            parts.append(rungs_table(rung_statuses(self.trials, self.config), self.holder is not None))
            if (rung := highest_rung(self.trials)) is not None:
                winner = self.result.winner if self.result else -1
                rows = front_rows(self.trials, winner, rung, self.config.objectives)
                parts.append(front_table(rows, f"Pareto front after {rung:,} steps"))
        parts += [Text(line) for line in summary_lines(self._stages())]
        return Group(*parts)  # type: ignore[arg-type]

    def _stages(self) -> list[tuple[str, str]]:
        from codenas.report.tables import winner_line

        model, interrupted = self.run.model.exists(), (self.run.folder / "last").exists()
        stages = [
            ("corpus", str(self.run.corpus) if self.run.corpus.exists() else "not prepared"),
            ("model", str(self.run.model) if model else "its training goes on from a stored state" if interrupted else "not trained"),
            ("evaluation", str(self.run.evaluation) if self.run.evaluation.exists() else "not evaluated"),
        ]
        at_work = f"process {self.holder}" if self.holder is not None else "no process of this machine"
        unfinished = self.config is not None and self.result is None and self.holder is None
        way_on = [("to go on", f"codenas search --resume {self.run.folder}")] if unfinished else []
        won = [("winner", winner_line(self.result))] if self.result is not None else []
        return [*won, *stages, ("at work", at_work), *way_on]


def read_status(run: Run) -> RunStatus:
    """What the files of `run` say now.

    Raises:
        RunError: it is no run, or one of its files cannot be read.
        ConfigError: its job is of another version.
    """
    from codenas.search.config import SearchConfig
    from codenas.search.result import SearchFolder

    run.require_begun()
    home = SearchFolder(run.search)
    claim = home.claimed()
    if claim is None:
        return RunStatus(run, None, (), None, _holder(run), None)
    result, trials, holder = home.result(), home.history().trials, _holder(run)
    pace = _pace(run, home, trials) if holder is not None and result is None else None
    return RunStatus(run, SearchConfig.of_job(claim.job), trials, result, holder, pace)


def _holder(run: Run) -> int | None:
    """The process of this machine that holds the run; its lock is left alone: taking it, if only to look, could refuse a search."""
    import psutil

    try:
        holder = psutil.Process(int(run.lock.read_text()))
        held = any(Path(file.path) == run.lock.resolve() for file in holder.open_files())
        return holder.pid if held else None  # a process that has ended leaves its number, and another one may get it
    except (OSError, ValueError, psutil.Error):
        return None


def _pace(run: Run, home: "SearchFolder", trials: "tuple[Trial, ...]") -> "Pace | None":
    """The pace of the session that works now: it took the lock when it began, and a stored rung is as old as its report."""
    from codenas.report.status import Pace

    began = max(run.lock.stat().st_mtime, (home.path / "job.json").stat().st_mtime)
    told: list[tuple[float, int]] = []
    for report in (report for trial in trials for report in trial.all_reports):
        with contextlib.suppress(FileNotFoundError):
            told.append(((home.checkpoints / report.checkpoint / "manifest.json").stat().st_mtime, report.steps))
    session = [(at, steps) for at, steps in told if at > began]
    if not session:
        return None
    last = max(at for at, _ in session)
    return Pace(sum(steps for _, steps in session), last - began, max(0.0, time.time() - last))
