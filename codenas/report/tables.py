"""Results as tables and lines. Units are in the headings; a dash is a metric that was not measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev

from rich.table import Table

from codenas.arch.design import Design
from codenas.metrics import LATENCIES, METRICS, Metrics
from codenas.report.designs import in_two_lines
from codenas.report.scale import ABSENT
from codenas.search.candidate import candidate_id
from codenas.search.result import SearchResult


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One candidate on the Pareto front. `rung` is its number of training steps.

    `metrics` are means over its seeds, `scores` the bits per byte of each seed.
    """

    id: str
    design: Design
    metrics: Metrics
    rung: int
    winner: bool = False
    scores: tuple[float, ...] = ()

    @property
    def deviation(self) -> float | None:
        """The standard deviation of its bits per byte over its seeds; None with one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None


_SHOWN = ("params", "bits_per_byte", "size_bytes", *LATENCIES)  # metrics that every front has columns for


def other_metrics(objectives: Iterable[str]) -> tuple[str, ...]:
    """Those of the metrics `objectives` that tables have no column for anyway."""
    return tuple(dict.fromkeys(name for name in objectives if name not in _SHOWN))


def front_table(rows: Sequence[FrontRow], title: str = "Pareto front", objectives: Sequence[str] = ()) -> Table:
    """One row per candidate, best bits per byte first; the winner is marked and bold.

    A design is given as layers x width, mixers, norm, activation, positions and storage, then pruning and vocabulary if they are not
    the default. The number of seeds has a column if some row has several; their bits per byte are mean and standard deviation.

    Args:
        objectives: names of the metrics that the search is about; each has a column.
    """
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("", "id", "design"):
        table.add_column(heading)
    repeated = any(row.deviation is not None for row in rows)
    others = other_metrics(objectives)
    figures = ["params\n(M)", "bits per\nbyte", "size\n(MB)", "latency p50/p95\n(ms per token)"]
    figures += [*(two_line_heading(name) for name in others), "steps"]
    for heading in [*figures, "seeds"] if repeated else figures:
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=_by_bits):
        seeds = [f"{max(1, len(row.scores))}"] if repeated else []
        more = [metric_cell(row.metrics, name) for name in others]
        table.add_row(*_cells(row), *more, f"{row.rung:,}", *seeds, style="bold" if row.winner else None)
    return table


def summary_lines(figures: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values with their units, the values in one column."""
    width = max((len(name) for name, _ in figures), default=0)
    return [f"{name:<{width}}  {value}" for name, value in figures]


def search_counts(result: SearchResult) -> str:
    """How many candidates a search trained, refused and lost, and for how many training steps."""
    scoring = f" and {result.scoring_steps:,} on scoring branches" if result.scoring_steps else ""
    failed = f" ({result.failed_repeats} failed)" if result.failed_repeats else ""
    repeats = f"{result.repeats} repeats with other seeds{failed}, " if result.repeats or failed else ""
    return (
        f"{result.trained} candidates trained, {result.refused} refused, {result.failed} failed, {repeats}"
        f"{result.steps:,} training steps{scoring}"
    )


def winner_line(result: SearchResult) -> str:
    """The winner, and whether it differs significantly from the other finalists."""
    won = f"{candidate_id(result.winner)} won"
    others = [index for index in result.repeated if index != result.winner]
    if not result.repeated:
        return f"{won} (single seed, ties not assessed; to train the best with other seeds as well, set [search.budget] repeats = 2)"
    if not others:
        return f"{won} (ties not assessed: no other finalist was trained with other seeds)"
    worse = [index for index in others if index not in result.ties]
    test = "(Student's t-test over the seeds, 95 %)"
    better = f"significantly better than {_ids(worse)} {test}"
    if not result.ties:
        return f"{won}, {better}"
    tied = f"{won} by the best mean, not significantly better than {_ids(result.ties)}"
    return f"{tied}, {better}" if worse else f"{tied} {test}"


def _ids(indices: Sequence[int]) -> str:
    return ", ".join(map(candidate_id, indices))


def worker_utilisation(result: SearchResult) -> str:
    """The share of worker time inside training steps, in the session that finished the search; earlier sessions record no times."""
    if not result.session_steps:
        return "no training step in the session that finished the search"
    workers = f"{result.workers} worker{'s' if result.workers > 1 else ''}"
    whole = result.workers * result.wall_seconds
    rest = [f"{100 * seconds / whole:.0f} % {name}" for name, seconds in result.elsewhere_seconds.items() if seconds >= 0.005 * whole > 0]
    other = f" (other: {', '.join(rest)})" if rest else ""
    return f"{100 * result.training_share:.0f} % of {workers} in the session that finished the search{other}"


def metric_figures(metrics: Metrics) -> list[tuple[str, str]]:
    """What was measured of one model, as names and values with units for `summary_lines`."""
    measured = metrics.values()
    return [(METRICS[name].label, METRICS[name].format(value)) for name, value in measured.items()]


def _by_bits(row: FrontRow) -> tuple[bool, float, str]:
    bits = row.metrics.bits_per_byte
    return bits is None, bits or 0.0, row.id


def _cells(row: FrontRow) -> list[str]:
    metrics = row.metrics
    return [
        "★" if row.winner else "",
        row.id,
        in_two_lines(row.design),
        _number(metrics.params, 2, 1e6),
        _number(metrics.bits_per_byte, 3) + (f" ± {row.deviation:.3f}" if row.deviation is not None else ""),
        _number(metrics.size_bytes, 2, 1e6),
        latency_cell(metrics),
    ]


def two_line_heading(metric: str) -> str:
    """The name of a metric, its unit below."""
    info = METRICS[metric]
    return f"{info.short}\n({info.shown_unit})" if info.shown_unit else info.label


def metric_cell(metrics: Metrics, metric: str) -> str:
    """The value of a metric without its unit."""
    value: float | None = getattr(metrics, metric)
    return ABSENT if value is None else METRICS[metric].number(value)


def latency_cell(metrics: Metrics) -> str:
    """Median and 95th percentile of the latency, without the unit."""
    cells = [metric_cell(metrics, name) for name in LATENCIES]
    return ABSENT if cells == [ABSENT, ABSENT] else " / ".join(cells)


def _number(value: float | None, digits: int, scale: float = 1, unit: str = "") -> str:
    return ABSENT if value is None else f"{value / scale:,.{digits}f}{unit}"
