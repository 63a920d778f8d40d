"""The front of a search: who is beaten by nobody in quality, size and latency together."""

from collections.abc import Sequence
from pathlib import Path

from codenas.report.plots import FrontPoint, front
from codenas.report.tables import FrontRow
from codenas.search.candidate import Trial
from codenas.search.fitness import Objective
from codenas.search.pareto import front as front_indices


def front_rows(trials: Sequence[Trial], winner: int, rung: int, objectives: Sequence[Objective]) -> list[FrontRow]:
    """The trials at the last `rung` that no other dominates, over all objectives, those without a weight included.

    The winner is always among the rows: by weight it may beat a trial that is ahead in an objective that decides nothing.
    """
    reports = [(trial.candidate, report) for trial in trials if (report := trial.report(rung))]
    costs = [[objective.cost(report.metrics) for objective in objectives] for _, report in reports]
    chosen = set(front_indices(costs)) | {i for i, (candidate, _) in enumerate(reports) if candidate.index == winner}
    return [
        FrontRow(candidate.id, candidate.design, report.metrics, report.rung, candidate.index == winner)
        for i, (candidate, report) in enumerate(reports)
        if i in chosen
    ]


def draw_front(trials: Sequence[Trial], rows: Sequence[FrontRow], objectives: Sequence[Objective], path: Path) -> None:
    """Every report of every trial, the front of `rows`, and the limits, as a picture at `path`."""
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
    size = limits.get("size_bytes")
    front(points, path, size / 1e6 if size else None, limits.get("latency_ms_p50"))
