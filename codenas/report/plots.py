"""Plots of a search and of an architecture. The only module that plots, without a display and without pyplot's global state.

matplotlib takes a second to import, so it is imported only when something is drawn.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codenas.files import write_atomic
from codenas.report.scale import Limit, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which is safe for colour-blind readers; marker shape and size repeat what the colours say.
_FRONT, _WINNER, _LIMIT = "#0072B2", "#D55E00", "#555555"
_RUNGS = ("#999999", "#56B4E9", "#009E73", "#CC79A7")
_RUNS = (("#0072B2", "D"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "v"), ("#E69F00", "P"), ("#56B4E9", "X"), ("#999999", "o"))
_STROKES = ("-", "--", "-.", ":")
_PARTS = ("#999999", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One candidate at one rung. `rung` is its number of training steps, `latency_ms` the time per decoded token."""

    label: str
    rung: int
    bits_per_byte: float
    size_bytes: int
    latency_ms: float
    on_front: bool = False
    winner: bool = False

    @property
    def size_mb(self) -> float:
        """Size in megabytes of 1,000,000 bytes."""
        return self.size_bytes / 1e6


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a bar: the cost of one part of `kind`."""

    kind: str
    parameters: int
    decoding_flops: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class ProfileBar:
    """The bar of one module, such as a layer, with a segment for each of its parts."""

    label: str
    segments: tuple[Segment, ...]


def front(points: Sequence[FrontPoint], path: Path, max_size: Limit | None = None, max_latency: Limit | None = None) -> None:
    """Draw bits per byte against size and against latency, side by side, as a PNG at `path`.

    Raises:
        ValueError: there is no point.
    """
    if not points:
        raise ValueError("a front without points cannot be drawn")
    figure = _figure(12, 5.5)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, points, [point.size_mb for point in points], "stored size (MB)", max_size)
    _panel(right, points, [point.latency_ms for point in points], "latency of cached decoding (ms per token)", max_latency)
    left.set_ylabel("bits per byte on held-out code (lower is better)")
    figure.suptitle(
        f"Search: {len({point.label for point in points})} candidates, {sum(point.on_front for point in points)} on the Pareto front"
    )
    handles, labels = left.get_legend_handles_labels()
    for handle, label in zip(*right.get_legend_handles_labels(), strict=True):
        if label not in labels:
            handles, labels = [*handles, handle], [*labels, label]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    _write(figure, path)


def overlaid_fronts(fronts: Mapping[str, Sequence[FrontPoint]], path: Path) -> None:
    """Draw the fronts of several searches over each other, each with its own color and marker, as a PNG at `path`.

    Raises:
        ValueError: there is no point.
    """
    if not any(fronts.values()):
        raise ValueError("fronts without points cannot be drawn")
    figure = _figure(12, 5.5)
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (name, points) in enumerate(fronts.items()):
        color, marker = _RUNS[number % len(_RUNS)]
        for axes, xs in ((left, [point.size_mb for point in points]), (right, [point.latency_ms for point in points])):
            placed = list(zip(points, xs, strict=True))
            _stairs(axes, placed, color)
            _scatter(axes, placed, color, 60, marker, name, 1.0)
            _scatter(axes, [pair for pair in placed if pair[0].winner], color, 300, "*", "", 1.0)
    _frame(left, "stored size (MB)")
    _frame(right, "latency of cached decoding (ms per token)")
    left.set_ylabel("bits per byte on held-out code (lower is better)")
    figure.suptitle(f"Pareto fronts of {len(fronts)} searches (stars: winners)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(fronts)), frameon=False)
    _write(figure, path)


def profile(bars: Sequence[ProfileBar], kinds: Sequence[str], title: str, path: Path) -> None:
    """Draw parameters, FLOPs and decoding state of an architecture by module, as a PNG at `path`; the first bar is the lowest.

    Args:
        kinds: all kinds of segments; each keeps its colour in every plot.

    Raises:
        ValueError: there is no bar.
    """
    if not bars:
        raise ValueError("an architecture without parts cannot be drawn")
    figure = _figure(13, 2.0 + 0.3 * len(bars))
    panels = figure.subplots(1, 3, sharey=True)
    used = {segment.kind for bar in bars for segment in bar.segments}
    colors = {kind: _PARTS[number % len(_PARTS)] for number, kind in enumerate(kinds) if kind in used}
    _stack(panels[0], bars, [[segment.parameters / 1e6 for segment in bar.segments] for bar in bars], colors)
    _stack(panels[1], bars, [[segment.decoding_flops / 1e6 for segment in bar.segments] for bar in bars], colors)
    _stack(panels[2], bars, [[segment.state_bytes / 1e3 for segment in bar.segments] for bar in bars], colors)
    for axes, xlabel in zip(panels, ("parameters (M)", "decoding a token (MFLOP)", "decoding state at full context (kB)"), strict=True):
        axes.set_xlabel(xlabel)
    panels[0].set_yticks(range(len(bars)), [bar.label for bar in bars])
    figure.suptitle(title)
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    _write(figure, path)


def volumes(shares: Mapping[str, Sequence[tuple[float, float, float]]], title: str, path: Path) -> None:
    """Draw the share of the hypervolume after each training, (mean, low, high) of every strategy, as a PNG at `path`.

    Raises:
        ValueError: there is no strategy.
    """
    if not shares:
        raise ValueError("a comparison without strategies cannot be drawn")
    figure = _figure(9, 5.5)
    axes = figure.subplots()
    for number, (name, over_time) in enumerate(shares.items()):
        trainings, color = range(1, len(over_time) + 1), _PARTS[(number + 1) % len(_PARTS)]
        mean, low, high = zip(*over_time, strict=True)
        axes.plot(trainings, mean, color=color, linestyle=_STROKES[number % len(_STROKES)], label=name)
        axes.fill_between(trainings, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("trainings")
    axes.set_ylabel("share of the table's hypervolume, 95 % interval")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _write(figure, path)


def _stack(axes: "Axes", bars: Sequence[ProfileBar], lengths: Sequence[Sequence[float]], colors: dict[str, str]) -> None:
    """One stacked horizontal bar per module, with the total at its end."""
    longest = max((sum(row) for row in lengths), default=0) or 1.0
    for y, (bar, row) in enumerate(zip(bars, lengths, strict=True)):
        start = 0.0
        for segment, length in zip(bar.segments, row, strict=True):
            axes.barh(y, length, left=start, height=0.72, color=colors[segment.kind], edgecolor="white", linewidth=0.8)
            start += length
        if start:
            axes.text(start + 0.01 * longest, y, brief(start), va="center", fontsize=8, color=_LIMIT)
    axes.set_xlim(0, 1.14 * longest)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.grid(alpha=0.25, axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _write(figure: "Figure", path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})  # no version string: the same points give the same bytes
    write_atomic(path, picture.getvalue())


def _panel(axes: "Axes", points: Sequence[FrontPoint], xs: Sequence[float], xlabel: str, limit: Limit | None) -> None:
    placed = list(zip(points, xs, strict=True))
    for number, rung in enumerate(sorted({point.rung for point in points})):
        _scatter(
            axes, [pair for pair in placed if pair[0].rung == rung], _RUNGS[number % len(_RUNGS)], 30, "o", f"after {rung:,} steps", 0.5
        )
    best = [pair for pair in placed if pair[0].on_front]
    _stairs(axes, best, _FRONT)
    _scatter(axes, best, _FRONT, 70, "D", "Pareto front", 1.0)
    _scatter(axes, [pair for pair in placed if pair[0].winner], _WINNER, 330, "*", "winner", 1.0)
    for point, x in best:
        axes.annotate(point.label, (x, point.bits_per_byte), xytext=(7, 7), textcoords="offset points", fontsize=8)
    if limit is not None and limit.value > 3 * max(xs):  # a distant one would squeeze all points together
        place = axes.transAxes
        axes.text(0.99, 0.99, f"{limit} →", transform=place, ha="right", va="top", fontsize=8, color=_LIMIT)
    elif limit is not None:
        axes.axvline(limit.value, color=_LIMIT, linestyle="--", linewidth=1.5, label="limit")
        place = axes.get_xaxis_transform()  # x in data coordinates, y in axes coordinates
        axes.text(limit.value, 0.98, str(limit), transform=place, rotation=90, ha="right", va="top", fontsize=8, color=_LIMIT)
    _frame(axes, xlabel)


def _frame(axes: "Axes", xlabel: str) -> None:
    axes.set_xlabel(xlabel)
    axes.margins(0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _stairs(axes: "Axes", placed: Sequence[tuple[FrontPoint, float]], color: str) -> None:
    steps = _staircase(placed)
    axes.step([x for x, _ in steps], [y for _, y in steps], where="post", color=color, linewidth=1.5, alpha=0.7, zorder=3)


def _scatter(
    axes: "Axes", placed: Sequence[tuple[FrontPoint, float]], color: str, size: float, marker: str, label: str, alpha: float
) -> None:
    if placed:
        xs, ys = [x for _, x in placed], [point.bits_per_byte for point, _ in placed]
        axes.scatter(xs, ys, s=size, c=color, marker=marker, label=label, alpha=alpha, edgecolors="white", linewidths=0.6, zorder=4)


def _staircase(placed: Sequence[tuple[FrontPoint, float]]) -> list[tuple[float, float]]:
    """The corners of the front in this panel: a point of the front over all objectives may be dominated in these two."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted((x, point.bits_per_byte) for point, x in placed):
        if not corners or y < corners[-1][1]:
            corners.append((x, y))
    return corners
