"""Replays of strategies: the share of the dominated hypervolume over the trainings, with intervals over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.table import Table

_RESAMPLES, _LEVEL = 2_000, 95


@dataclass(slots=True, frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> "Interval":
        """The interval of the mean of `values`, [seeds]. All intervals use the same resamples, so they can be compared."""
        picks = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
        low, high = np.percentile(values[picks].mean(axis=1), [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
        return cls(float(values.mean()), float(low), float(high))


@dataclass(slots=True, frozen=True)
class ReplayRow:
    """One strategy: its share of the hypervolume after each training, and its final difference from the first strategy."""

    strategy: str
    shares: tuple[Interval, ...]
    difference: Interval | None
    seconds_per_trial: float


def replay_rows(shares: Mapping[str, Sequence[Sequence[float]]], seconds_per_trial: Mapping[str, float]) -> list[ReplayRow]:
    """A row for each strategy of `shares`, [seeds, trainings]. Differences are paired by seed."""
    arrays = {name: np.array(runs) for name, runs in shares.items()}
    first = next(iter(arrays.values()))
    return [
        ReplayRow(
            name,
            tuple(Interval.of(runs[:, training]) for training in range(runs.shape[1])),
            Interval.of(runs[:, -1] - first[:, -1]) if runs is not first else None,
            seconds_per_trial[name],
        )
        for name, runs in arrays.items()
    ]


def replay_table(rows: Sequence[ReplayRow], title: str) -> Table:
    """One line for each strategy, at a quarter, half, three quarters and all of the trainings."""
    trainings = len(rows[0].shares)
    marks = sorted({max(1, round(trainings * part / 4)) for part in (1, 2, 3, 4)})
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = "share of the hypervolume that the whole table dominates, mean and 95 % interval over the seeds"
    table.add_column("strategy")
    for mark in marks:
        table.add_column(f"after {mark}", justify="right")
    table.add_column(f"difference from {rows[0].strategy}", justify="right")
    table.add_column("trials/s", justify="right")
    for row in rows:
        cells = [_cell(row.shares[mark - 1], ".3f") for mark in marks]
        difference = "–" if row.difference is None else _cell(row.difference, "+.3f")
        table.add_row(row.strategy, *cells, difference, f"{1 / max(row.seconds_per_trial, 1e-9):,.0f}")
    return table


def _cell(interval: Interval, form: str) -> str:
    return f"{interval.mean:{form}} ± {(interval.high - interval.low) / 2:.3f}"
