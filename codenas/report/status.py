"""How far a search is, told from its history alone: nothing is asked of the process that runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.table import Table

from codenas.log import duration
from codenas.report.scale import ABSENT
from codenas.search.candidate import Budget, Trial
from codenas.search.config import SearchConfig
from codenas.search.rungs import going_on, narrowed


@dataclass(frozen=True, slots=True)
class RungStatus:
    """One rung. Candidates are named by their ids.

    Attributes:
        wanted: candidates that the budget sends to the rung; at most, as long as adaptive promotion goes on.
        best: bits per byte, and whose; None before the first report.
        unsettled: those that are trained now or next; who of them is, only the process that trains them knows.
    """

    steps: int
    wanted: int
    open: bool
    reported: int
    failed: int
    best: tuple[float, str] | None
    unsettled: tuple[str, ...]


def rung_statuses(trials: Sequence[Trial], config: SearchConfig) -> list[RungStatus]:
    """How far each rung is."""
    budget = narrowed(config.bounds, trials, config.objectives)
    entered = _entered(trials, config)
    return [
        RungStatus(
            steps=rung,
            wanted=wanted,
            open=least < wanted or (config.scheduler == "asha" and rung > budget.rungs[0]),
            reported=sum(trial.report(rung) is not None for trial in trials),
            failed=sum(trial.failure is not None and trial.failure.rung == rung for trial in trials),
            best=min(_scores(trials, rung), default=None),
            unsettled=tuple(trial.candidate.id for trial in going if not trial.settled(rung)),
        )
        for rung, wanted, least, going in zip(
            budget.rungs, (budget.candidates, *budget.promote), (budget.candidates, *budget.at_least), entered, strict=True
        )
    ]


def highest_rung(trials: Sequence[Trial]) -> int | None:
    """The highest rung that anybody has reached; None before the first report."""
    return max((trial.last.rung for trial in trials if trial.last), default=None)


@dataclass(frozen=True, slots=True)
class Pace:
    """Training steps and the seconds that all workers together took for them; the last was reported `silent_seconds` ago."""

    steps: int
    seconds: float
    silent_seconds: float

    def left_seconds(self, steps: int) -> float | None:
        """Seconds until `steps` more are reported; None before anything is known."""
        if self.steps <= 0 or self.seconds <= 0:
            return None
        return max(0.0, self.seconds / self.steps * steps - self.silent_seconds)


def steps_left(trials: Sequence[Trial], budget: Budget) -> int:
    """Training steps to go when nobody else is refused or fails; at most, if promotion is adaptive."""
    left, below = 0, 0
    going = budget.candidates
    for rung, wanted in zip(budget.rungs, (budget.candidates, *budget.promote), strict=True):
        lost = sum(trial.failure is not None and trial.failure.rung == rung for trial in trials)
        wanted = min(wanted, going)
        reported = sum(trial.report(rung) is not None for trial in trials)
        left += max(0, wanted - reported - lost) * (rung - below)
        going, below = wanted - lost, rung
    return left + max(0, budget.repeat_trainings(going) - _repeats(trials)) * below


def progress_line(trials: Sequence[Trial], config: SearchConfig, finished: bool, pace: Pace | None) -> str:
    """Steps done of all, the best score, what is left."""
    done = sum(report.steps for trial in trials for report in trial.all_reports)
    budget = narrowed(config.bounds, trials, config.objectives)
    left = 0 if finished else steps_left(trials, budget)
    at_most = "at most " if (budget.adaptive or config.scheduler == "asha") and not finished else ""
    best = min((score for rung in config.budget.rungs for score in _scores(trials, rung)), default=None)
    refused = sum(trial.refusal is not None for trial in trials)
    seconds = pace.left_seconds(left) if pace is not None else None
    parts = [
        f"{done:,} of at most {done + left:,} steps"
        if at_most
        else f"{done:,}/{done + left:,} steps ({100 * done / max(1, done + left):.0f} %)",
        f"best {best[0]:.3f} bits per byte ({best[1]})" if best else "",
        f"{refused} refused" if refused else "",
        f"{repeats} trained again with other seeds" if (repeats := _repeats(trials)) else "",
        f"{at_most}about {duration(seconds)} left" if seconds is not None else "",
        "finished" if finished else "",
    ]
    return ", ".join(part for part in parts if part)


def rungs_table(rungs: Sequence[RungStatus], at_work: bool) -> Table:
    """One line per rung; `at_work` says whether a process is known to train."""
    table = Table(title="Rungs", title_justify="left")
    for heading in ("steps", "candidates", "trained", "failed", "best bits\nper byte"):
        table.add_column(heading, justify="right")
    for heading in ("of", "now or next" if at_work else "next"):
        table.add_column(heading)
    for rung in rungs:
        score, name = (f"{rung.best[0]:.3f}", rung.best[1]) if rung.best else (ABSENT, ABSENT)
        wanted = f"{'≤ ' if rung.open else ''}{rung.wanted:,}"
        counts = (f"{rung.steps:,}", wanted, f"{rung.reported:,}", f"{rung.failed:,}")
        table.add_row(*counts, score, name, _listed(rung.unsettled))
    return table


def _entered(trials: Sequence[Trial], config: SearchConfig) -> list[list[Trial]]:
    """Who goes to each rung, as far as that is decided: promotion waits until everybody below is settled, ASHA keeps it to itself."""
    budget = config.budget
    going = [trial for trial in trials if trial.refusal is None]
    entered, decided = [going], len(going) >= budget.candidates
    for number, (below, rung) in enumerate(pairwise(budget.rungs), 1):
        reached = any(trial.report(rung) for trial in trials)  # a space may hold fewer candidates than the budget has
        decided = (decided or reached) and all(trial.settled(below) for trial in going) and config.scheduler != "asha"
        going, closed = going_on(going, budget, number, config.objectives) if decided else ([], False)
        entered.append(going)
        decided = decided and closed
    return entered


def _repeats(trials: Sequence[Trial]) -> int:
    """Trainings with other seeds that are over, failed ones included."""
    return sum(len(trial.repeats) + len(trial.failed_repeats) for trial in trials)


def _scores(trials: Sequence[Trial], rung: int) -> list[tuple[float, str]]:
    reports = ((trial.candidate.id, trial.report(rung)) for trial in trials)
    return [(report.metrics.bits_per_byte, name) for name, report in reports if report and report.metrics.bits_per_byte is not None]


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else ABSENT
