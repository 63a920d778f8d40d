"""The progress of a search, from its history alone: the process that runs it is not asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.table import Table

from codenas.log import duration
from codenas.report.scale import ABSENT
from codenas.search.candidate import Budget, Trial
from codenas.search.config import SearchConfig
from codenas.search.pace import Pace
from codenas.search.rungs import promoted_to_rung, with_decided_promotions


@dataclass(frozen=True, slots=True)
class RungStatus:
    """One rung. Candidates are named by their ids.

    Attributes:
        planned: candidates that the budget sends to the rung; an upper bound where `bound_only`.
        bound_only: whether adaptive promotion or ASHA may send fewer.
        best: bits per byte and the candidate that has it; None before the first report.
        pending: candidates that are running or queued; only the process that trains them knows which of the two.
    """

    steps: int
    planned: int
    bound_only: bool
    reported: int
    failed: int
    best: tuple[float, str] | None
    pending: tuple[str, ...]


def rung_statuses(trials: Sequence[Trial], config: SearchConfig) -> list[RungStatus]:
    """The progress of each rung."""
    budget = with_decided_promotions(config.bounds, trials, config.objectives)
    entered = _entered(trials, config)
    return [
        RungStatus(
            steps=rung,
            planned=wanted,
            bound_only=least < wanted or (config.scheduler == "asha" and rung > budget.rungs[0]),
            reported=sum(trial.report(rung) is not None for trial in trials),
            failed=sum(trial.failure is not None and trial.failure.rung == rung for trial in trials),
            best=min(_scores(trials, rung), default=None),
            pending=tuple(trial.candidate.id for trial in trials_of_rung if not trial.settled(rung)),
        )
        for rung, wanted, least, trials_of_rung in zip(
            budget.rungs, (budget.candidates, *budget.promote), (budget.candidates, *budget.at_least), entered, strict=True
        )
    ]


def highest_rung(trials: Sequence[Trial]) -> int | None:
    """The highest rung that any candidate has reached; None before the first report."""
    return max((trial.last.rung for trial in trials if trial.last), default=None)


def remaining_steps(trials: Sequence[Trial], budget: Budget) -> int:
    """Remaining training steps if no other candidate is refused or fails; an upper bound where promotion is adaptive."""
    remaining, below = 0, 0
    entering = budget.candidates
    for rung, wanted in zip(budget.rungs, (budget.candidates, *budget.promote), strict=True):
        lost = sum(trial.failure is not None and trial.failure.rung == rung for trial in trials)
        wanted = min(wanted, entering)
        reported = sum(trial.report(rung) is not None for trial in trials)
        remaining += max(0, wanted - reported - lost) * (rung - below)
        entering, below = wanted - lost, rung
    return remaining + max(0, budget.repeat_trainings(entering) - _repeats(trials)) * below


def progress_line(trials: Sequence[Trial], config: SearchConfig, finished: bool, pace: Pace | None) -> str:
    """Steps done, the best score, refusals, repeats and the estimated time of arrival."""
    done = sum(report.steps for trial in trials for report in trial.all_reports)
    budget = with_decided_promotions(config.bounds, trials, config.objectives)
    remaining = 0 if finished else remaining_steps(trials, budget)
    at_most = "at most " if (budget.adaptive or config.scheduler == "asha") and not finished else ""
    best = min((score for rung in config.budget.rungs for score in _scores(trials, rung)), default=None)
    refused = sum(trial.refusal is not None for trial in trials)
    seconds = pace.eta_seconds(remaining) if pace is not None else None
    parts = [
        f"{done:,} of at most {done + remaining:,} steps"
        if at_most
        else f"{done:,}/{done + remaining:,} steps ({100 * done / max(1, done + remaining):.0f} %)",
        f"best {best[0]:.3f} bits per byte ({best[1]})" if best else "",
        f"{refused} refused" if refused else "",
        f"{repeats} repeats with other seeds" if (repeats := _repeats(trials)) else "",
        f"ETA {at_most}{duration(seconds)}" if seconds is not None else "",
        "finished" if finished else "",
    ]
    return ", ".join(part for part in parts if part)


def rungs_table(rungs: Sequence[RungStatus], running: bool) -> Table:
    """One line per rung; `running`: a process of this machine is known to work on the search."""
    table = Table(title="Rungs", title_justify="left")
    for heading in ("steps", "candidates", "trained", "failed", "best bits\nper byte"):
        table.add_column(heading, justify="right")
    for heading in ("candidate", "running or queued" if running else "queued"):
        table.add_column(heading)
    for rung in rungs:
        score, name = (f"{rung.best[0]:.3f}", rung.best[1]) if rung.best else (ABSENT, ABSENT)
        wanted = f"{'≤ ' if rung.bound_only else ''}{rung.planned:,}"
        counts = (f"{rung.steps:,}", wanted, f"{rung.reported:,}", f"{rung.failed:,}")
        table.add_row(*counts, score, name, _listed(rung.pending))
    return table


def _entered(trials: Sequence[Trial], config: SearchConfig) -> list[list[Trial]]:
    """The candidates promoted to each rung, as far as that is decided: synchronous promotion waits for the whole rung below, and Ray's ASHA
    decides by itself."""
    budget = config.budget
    promoted = [trial for trial in trials if trial.refusal is None]
    entered, decided = [promoted], len(promoted) >= budget.candidates
    for number, (below, rung) in enumerate(pairwise(budget.rungs), 1):
        reached = any(trial.report(rung) for trial in trials)  # a space may hold fewer candidates than the budget has
        decided = (decided or reached) and all(trial.settled(below) for trial in promoted) and config.scheduler != "asha"
        promoted, complete = promoted_to_rung(promoted, budget, number, config.objectives) if decided else ([], False)
        entered.append(promoted)
        decided = decided and complete
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
