"""The status of a run, read from its files."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from codenas.experiment.run import Run
from codenas.search.candidate import Trial
from codenas.search.config import SearchConfig
from codenas.search.pace import Pace
from codenas.search.result import SearchFolder, SearchResult


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What the files of a run hold.

    Attributes:
        config: None before its search.
        holder: the process of this machine that works on it.
        no_winner: why its search ended without a winner.
    """

    run: Run
    config: SearchConfig | None
    trials: tuple[Trial, ...]
    result: SearchResult | None
    holder: int | None
    pace: Pace | None
    no_winner: str | None = None

    @property
    def unfinished(self) -> bool:
        """Whether its search was started and can be resumed: it has not ended, and no process of this machine works on it."""
        return self.config is not None and self.result is None and self.holder is None and self.no_winner is None


def read_status(run: Run) -> RunStatus:
    """The current status of `run`.

    Raises:
        RunError: it is not a run, or one of its files cannot be read.
        ConfigError: its job was written by another version.
    """
    run.require_started()
    home = SearchFolder(run.search)
    claim, holder = home.claimed(), active_process(run)
    if claim is None:
        return RunStatus(run, None, (), None, holder, None)
    result, trials = home.result(), home.history().trials
    pace = _pace(run, home, trials) if holder is not None and result is None else None
    no_winner = home.no_winner() if holder is None and result is None else None
    return RunStatus(run, SearchConfig.of_job(claim.job), trials, result, holder, pace, no_winner)


def active_process(run: Run) -> int | None:
    """The local process that holds the run. The lock is not acquired, since that could make a starting search fail."""
    try:
        holder = psutil.Process(int(run.lock.read_text()))
        held = any(Path(file.path) == run.lock.resolve() for file in holder.open_files())
        return holder.pid if held else None  # the id of an ended process may be reused
    except (OSError, ValueError, psutil.Error):
        return None


def _pace(run: Run, home: SearchFolder, trials: tuple[Trial, ...]) -> Pace | None:
    """The pace of the current session, which took the lock when it started; a stored rung is as old as its report."""
    began = max(run.lock.stat().st_mtime, (home.path / "job.json").stat().st_mtime)
    reported: list[tuple[float, int]] = []
    for report in (report for trial in trials for report in trial.all_reports):
        with contextlib.suppress(FileNotFoundError):
            reported.append(((home.checkpoints / report.checkpoint / "manifest.json").stat().st_mtime, report.steps))
    session = [(at, steps) for at, steps in reported if at > began]
    if not session:
        return None
    last = max(at for at, _ in session)
    return Pace(sum(steps for _, steps in session), last - began, max(0.0, time.time() - last))
