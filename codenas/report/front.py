"""The Pareto front of a search: candidates that no other dominates in quality, size and latency."""

from collections.abc import Sequence
from pathlib import Path

from codenas.metrics import Metrics
from codenas.report.plots import FrontPoint, front
from codenas.report.scale import limit_of
from codenas.report.tables import FrontRow
from codenas.search.candidate import Trial
from codenas.search.fitness import Objective
from codenas.stats.pareto import front as front_indices


def front_rows(trials: Sequence[Trial], winner: int, rung: int, objectives: Sequence[Objective]) -> list[FrontRow]:
    """The trials at the last `rung` that no other dominates, over all objectives, including those without a weight.

    Candidates that were trained with several seeds count with their means. The winner is always among the rows: it has the best
    weighted fitness, and may be dominated by a trial that is better only in an objective without a weight.
    """
    reached = [(trial.candidate, [report.metrics for report in trial.trainings(rung)]) for trial in trials if trial.report(rung)]
    rows = [
        FrontRow(candidate.id, candidate.design, Metrics.mean(seeds), rung, candidate.index == winner, _scores(seeds))
        for candidate, seeds in reached
    ]
    chosen = front_indices([[objective.cost(row.metrics) for objective in objectives] for row in rows])
    return [row for i, row in enumerate(rows) if i in chosen or row.winner]


def draw_front(trials: Sequence[Trial], rows: Sequence[FrontRow], objectives: Sequence[Objective], path: Path) -> None:
    """Draw every report of every trial, the Pareto front `rows` and the limits, as a PNG at `path`."""
    on_front = {(row.id, row.rung) for row in rows}
    winner = {(row.id, row.rung) for row in rows if row.winner}
    points = [
        FrontPoint(
            label=trial.candidate.id,
            rung=report.rung,
            bits_per_byte=report.metrics.bits_per_byte or 0.0,
            size_bytes=report.metrics.size_bytes or 0,
            latency_ms=report.metrics.latency_ms_p50 or 0.0,
            on_front=(trial.candidate.id, report.rung) in on_front,
            winner=(trial.candidate.id, report.rung) in winner,
        )
        for trial in trials
        for report in trial.reports
    ]
    limits = {objective.metric: objective.limit for objective in objectives}
    front(points, path, limit_of(limits.get("size_bytes"), "MB", 1e6), limit_of(limits.get("latency_ms_p50"), "ms"))


def _scores(seeds: Sequence[Metrics]) -> tuple[float, ...]:
    return tuple(metrics.bits_per_byte for metrics in seeds if metrics.bits_per_byte is not None)
