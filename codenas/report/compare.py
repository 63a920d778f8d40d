"""Finished searches beside each other: what won, what it cost, and whether the difference is more than luck.

A search that is repeated with another seed finds another winner. How far those lie apart, over all searches that were
repeated, is what a difference has to exceed; where nothing was repeated, nobody can tell.
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
from codenas.metrics import context_name
from codenas.report.designs import in_words
from codenas.report.fidelity import fidelity_lines
from codenas.report.plots import FrontPoint, overlaid_fronts
from codenas.report.scale import ABSENT
from codenas.report.tables import FrontRow
from codenas.search.fidelity import Fidelity
from codenas.stats.significance import PooledVariance

_COLUMNS: dict[str, Literal["left", "right"]] = {
    "run": "left", "seed": "right", "winner": "left", "design": "left", "bits per\nbyte": "right", "size\n(MB)": "right",
    "latency p50\n(ms per token)": "right", "after\nsteps": "right", "training\nsteps": "right", "to score": "right",
    "worker\ntime": "right", "front": "right",
}  # fmt: skip

Verdict = Literal["better", "tie", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one finished search found.

    Attributes:
        question: what was searched, the seed left out: searches of one question are repetitions of each other.
        scored_on: what bits per byte were measured on; only those of the same text compare.
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

    @property
    def winner(self) -> FrontRow:
        """The row of the winner."""
        return next(row for row in self.rows if row.winner)

    @property
    def bits_per_byte(self) -> float:
        """Of the winner; infinite where it was not measured."""
        measured = self.winner.metrics.bits_per_byte
        return math.inf if measured is None else measured


@dataclass(frozen=True, slots=True)
class Difference:
    """How much lower the mean bits per byte of `better` are than those of `worse`.

    `bound` is what luck alone exceeds once in twenty times; None where no search was repeated.
    """

    better: str
    worse: str
    gap: float
    bound: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is more than luck."""
        if self.bound is None:
            return "unknown"
        return "better" if self.gap > self.bound else "tie"


def repetitions(findings: Sequence[Finding]) -> list[list[Finding]]:
    """The findings by question, best mean first; one per seed: the same search twice is no repetition."""
    by_question: dict[str, dict[int, Finding]] = {}
    for finding in findings:
        by_question.setdefault(finding.question, {}).setdefault(finding.seed, finding)
    return sorted((list(seeds.values()) for seeds in by_question.values()), key=_mean)


def differences(groups: Sequence[Sequence[Finding]]) -> list[Difference]:
    """Each group against the one after it; groups are ordered as `repetitions` does, and scored on the same text."""
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
        return f"{pair}; whether that is more than luck cannot be told: no search was repeated with another seed"
    seeds = f"two searches that differ by luck alone are up to {difference.bound:.3f} apart (95 %)"
    return f"{pair}, {'a difference' if difference.verdict == 'better' else 'a tie'}: {seeds}"


def verdict_lines(findings: Sequence[Finding]) -> list[str]:
    """What can be said of the differences; nothing of searches that were scored on different text."""
    lines = []
    texts = list(dict.fromkeys(finding.scored_on for finding in findings))
    for text in texts:
        groups = repetitions([finding for finding in findings if finding.scored_on == text])
        if len(groups) == 1 and len(groups[0]) > 1:
            scores = [finding.bits_per_byte for finding in groups[0]]
            told = f"{fmean(scores):.3f} ± {stdev(scores):.3f} bits per byte"
            lines.append(f"{_names(groups[0])}: one search with {len(scores)} seeds, {told}")
        lines += [difference_line(difference) for difference in differences(groups)]
    contexts = dict.fromkeys(finding.winner.metrics.latency_context for finding in findings)
    if len(contexts) > 1:
        lines.append(f"latencies were measured on {' and '.join(map(context_name, contexts))}: they compare only on the same device")
    if len(texts) > 1:
        lines.append(f"scored on {len(texts)} different corpora or amounts of text: bits per byte compare only where these are the same")
    return lines


def fidelity_of_runs(findings: Sequence[Finding]) -> list[str]:
    """How far the low rungs of each search can be trusted."""
    return [f"{finding.name}: {line}" for finding in findings for line in fidelity_lines(finding.fidelity)]


def comparison_table(findings: Sequence[Finding]) -> Table:
    """One line per search, best bits per byte first."""
    table = Table(title="Winners", title_justify="left")
    for heading, justify in _COLUMNS.items():
        table.add_column(heading, justify=justify)
    for finding in sorted(findings, key=lambda finding: finding.bits_per_byte):
        table.add_row(*_cells(finding))
    return table


def draw_comparison(findings: Sequence[Finding], path: Path) -> None:
    """The fronts of all searches in one picture at `path`."""
    overlaid_fronts({finding.name: [_point(row) for row in finding.rows] for finding in findings}, path)


def named_apart(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of different absolute paths that tell them apart: `x` and `y` for `/a/runs/x` and `/b/runs/y`."""
    depths = itertools.count(1)
    return next(names for depth in depths if len(set(names := ["/".join(path.parts[-depth:]) for path in paths])) == len(paths))


def _mean(group: Sequence[Finding]) -> float:
    return fmean(finding.bits_per_byte for finding in group)


def _names(group: Sequence[Finding]) -> str:
    return " + ".join(finding.name for finding in group)


def _cells(finding: Finding) -> list[str]:
    winner = finding.winner
    metrics = winner.metrics
    return [
        finding.name,
        f"{finding.seed}",
        winner.id,
        in_words(winner.design),
        _number(metrics.bits_per_byte, 3),
        _number(metrics.size_bytes and metrics.size_bytes / 1e6, 2),
        _number(metrics.latency_ms_p50, 2),
        f"{winner.rung:,}",
        f"{finding.steps:,}",
        f"{finding.scoring_steps:,}",
        duration(finding.seconds),
        f"{len(finding.rows)}",
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
