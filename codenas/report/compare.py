"""A comparison of finished searches: their winners, their costs, and whether the difference is significant.

A search that is repeated with another seed finds another winner. The spread of the winners' scores, pooled over all repeated
searches, gives the least significant difference; without repetitions significance cannot be assessed.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from rich.table import Table

from codenas.log import duration
from codenas.metrics import LATENCY, context_name
from codenas.report.designs import in_two_lines
from codenas.report.fidelity import fidelity_lines
from codenas.report.plots import FrontPoint, overlaid_fronts
from codenas.report.scale import ABSENT
from codenas.report.tables import FrontRow, metric_cell, other_metrics, two_line_heading
from codenas.search.fidelity import Fidelity
from codenas.stats.significance import PooledVariance

_COLUMNS: dict[str, Literal["left", "right"]] = {
    "run": "left", "seed": "right", "winner": "left", "bits per\nbyte": "right", "size\n(MB)": "right",
    "latency\np50 (ms)": "right", "rung": "right", "training steps\n+ scoring": "right",
    "worker\ntime": "right", "Pareto\nfront": "right",
}  # fmt: skip

Outcome = Literal["better", "tie", "unknown"]


@dataclass(frozen=True, slots=True)
class FinishedSearch:
    """One finished search.

    Attributes:
        question: the job without its seed; searches with the same question are repetitions of each other.
        objectives: the names of the metrics that it is about.
        scored_on: the text that bits per byte were measured on; they compare only on the same text.
        seconds: of training, over all workers and sessions.
    """

    name: str
    question: str
    scored_on: str
    seed: int
    rows: tuple[FrontRow, ...]
    steps: int
    scoring_steps: int
    seconds: float
    fidelity: tuple[Fidelity, ...] = ()
    objectives: tuple[str, ...] = ()

    @property
    def winner(self) -> FrontRow:
        """The winner's row."""
        return next(row for row in self.rows if row.winner)

    @property
    def bits_per_byte(self) -> float:
        """The winner's; infinite if it was not measured."""
        measured = self.winner.metrics.bits_per_byte
        return math.inf if measured is None else measured


@dataclass(frozen=True, slots=True)
class Difference:
    """How much lower the mean bits per byte of `better` are than those of `worse`.

    `bound` is the least significant difference at the 95 % level; None if no search was repeated.
    """

    better: str
    worse: str
    gap: float
    bound: float | None

    @property
    def outcome(self) -> Outcome:
        """Whether the difference is significant."""
        if self.bound is None:
            return "unknown"
        return "better" if self.gap > self.bound else "tie"


def repetitions(searches: Sequence[FinishedSearch]) -> list[list[FinishedSearch]]:
    """The searches grouped by question, best mean first; one per seed, since the same search twice is no repetition."""
    by_question: dict[str, dict[int, FinishedSearch]] = {}
    for search in searches:
        by_question.setdefault(search.question, {}).setdefault(search.seed, search)
    return sorted((list(seeds.values()) for seeds in by_question.values()), key=_mean)


def differences(groups: Sequence[Sequence[FinishedSearch]]) -> list[Difference]:
    """Each group against the next one; `groups` are ordered as `repetitions` orders them, and scored on the same text."""
    pooled = PooledVariance.of([[each.bits_per_byte for each in group] for group in groups])
    found = []
    for better, worse in itertools.pairwise(groups):
        bound = pooled.least_significant_difference(len(better), len(worse)) if pooled is not None else None
        found.append(Difference(_names(better), _names(worse), _mean(worse) - _mean(better), bound))
    return found


def difference_line(difference: Difference) -> str:
    """The difference as a sentence."""
    pair = f"{difference.better} against {difference.worse}: {difference.gap:.3f} bits per byte apart"
    if difference.bound is None:
        return f"{pair}; significance not assessed: no search was repeated with another seed"
    significance = "significant" if difference.outcome == "better" else "not significant, a tie"
    return f"{pair}, {significance} (least significant difference {difference.bound:.3f}, 95 %)"


def difference_lines(searches: Sequence[FinishedSearch]) -> list[str]:
    """The differences as sentences; searches that were scored on different text are not compared."""
    lines = []
    texts = list(dict.fromkeys(search.scored_on for search in searches))
    for text in texts:
        groups = repetitions([search for search in searches if search.scored_on == text])
        if len(groups) == 1 and len(groups[0]) > 1:
            scores = [search.bits_per_byte for search in groups[0]]
            spread = f"{fmean(scores):.3f} ± {stdev(scores):.3f} bits per byte"
            lines.append(f"{_names(groups[0])}: one search with {len(scores)} seeds, {spread}")
        lines += [difference_line(difference) for difference in differences(groups)]
    contexts = dict.fromkeys(search.winner.metrics.latency_context for search in searches)
    if len(contexts) > 1:
        lines.append(f"latencies were measured on {' and '.join(map(context_name, contexts))}: they compare only on the same device")
    if len(texts) > 1:
        lines.append(f"scored on {len(texts)} different corpora or amounts of text: bits per byte compare only on the same text")
    return lines


def fidelity_of_runs(searches: Sequence[FinishedSearch]) -> list[str]:
    """The fidelity of the lower rungs of each search."""
    return [f"{search.name}: {line}" for search in searches for line in fidelity_lines(search.fidelity)]


def comparison_table(searches: Sequence[FinishedSearch]) -> Table:
    """One line per search, best bits per byte first."""
    table = Table(title="Winners", title_justify="left")
    for heading, justify in _COLUMNS.items():
        table.add_column(heading, justify=justify)
    others = other_metrics(metric for search in searches for metric in search.objectives)
    for metric in others:
        table.add_column(two_line_heading(metric), justify="right")
    for search in sorted(searches, key=lambda search: search.bits_per_byte):
        table.add_row(*_cells(search), *(metric_cell(search.winner.metrics, metric) for metric in others))
    return table


def draw_comparison(searches: Sequence[FinishedSearch], path: Path) -> None:
    """Draw the Pareto fronts of all searches over each other, as a PNG at `path`."""
    overlaid_fronts({search.name: [_point(row) for row in search.rows] for search in searches}, path)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest suffixes that distinguish absolute paths: `x` and `y` for `/a/runs/x` and `/b/runs/y`."""
    depths = itertools.count(1)
    return next(names for depth in depths if len(set(names := ["/".join(path.parts[-depth:]) for path in paths])) == len(paths))


def _mean(group: Sequence[FinishedSearch]) -> float:
    return fmean(search.bits_per_byte for search in group)


def _names(group: Sequence[FinishedSearch]) -> str:
    return " + ".join(search.name for search in group)


def _cells(search: FinishedSearch) -> list[str]:
    winner = search.winner
    metrics = winner.metrics
    return [
        search.name,
        f"{search.seed}",
        f"{winner.id}: {in_two_lines(winner.design)}",
        _number(metrics.bits_per_byte, 3),
        _number(metrics.size_bytes and metrics.size_bytes / 1e6, 2),
        metric_cell(metrics, LATENCY),
        f"{winner.rung:,}",
        f"{search.steps:,} + {search.scoring_steps:,}",
        duration(search.seconds),
        f"{len(search.rows)}",
    ]


def _number(value: float | None, digits: int) -> str:
    return ABSENT if value is None else f"{value:.{digits}f}"


def _point(row: FrontRow) -> FrontPoint:
    metrics = row.metrics
    return FrontPoint(
        label=row.id,
        rung=row.rung,
        bits_per_byte=metrics.bits_per_byte or 0.0,
        size_bytes=metrics.size_bytes or 0,
        latency_ms=metrics.latency_ms_p50 or 0.0,
        on_front=True,
        winner=row.winner,
    )
