"""Charts as inline SVG, without a library. Colours are classes of the page's style sheet, so they follow its theme.

Browsers show a `<title>` as a tooltip; the page's script shows it at once and highlights every element with the same
`data-candidate`. All text is escaped here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from codenas.report.scale import Limit

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 14, 44
Point = tuple[float, float]
Shape = Literal["dot", "ring", "star"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of `candidate`; `kind` is its CSS class, `label` is printed next to it."""

    x: float
    y: float
    tip: str
    candidate: str = ""
    kind: str = "k0"
    shape: Shape = "dot"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, drawn as steps if `stairs`; `label` is printed at its end."""

    points: Sequence[Point]
    tip: str = ""
    candidate: str = ""
    kind: str = "k0"
    stairs: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked bar of parts (CSS class, length, tooltip); `tick` is a mark on its scale, `value` is printed at its end."""

    label: str
    parts: Sequence[tuple[str, float, str]]
    tick: float | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A job in a lane: its start and its length, in the unit of the axis."""

    lane: str
    begin: float
    seconds: float
    tip: str
    candidate: str
    kind: str


@dataclass(frozen=True, slots=True)
class Coordinate:
    """An axis of parallel coordinates: (place from 0 to 1, text) of its ticks."""

    label: str
    ticks: Sequence[tuple[float, str]]


def plot(
    marks: Sequence[Mark], lines: Sequence[Line], xlabel: str, ylabel: str, limit: Limit | None = None, size: tuple[int, int] = (560, 360)
) -> str:
    """A scatter and line plot; `limit` is a vertical line, or a note at the edge if far outside. Empty without points."""
    width, height = size
    everything = [(mark.x, mark.y) for mark in marks] + [point for line in lines for point in line.points]
    if not everything:
        return ""
    xs = [x for x, _ in everything]
    near = limit is not None and limit.value <= 2 * max(xs) - min(xs)  # a distant one would squeeze all points together
    across = Scale.over([*xs, limit.value] if near and limit is not None else xs, _LEFT, width - _RIGHT)
    up = Scale.over([y for _, y in everything], height - _BOTTOM, _TOP)
    parts = [_grid(across, up, xlabel, ylabel, width, height)]
    if limit is not None and not near:
        parts.append(_text(width - _RIGHT, _TOP + 2, f"{limit} →", "limit-text", "end"))
    elif limit is not None:
        x = across.at(limit.value)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
        parts.append(_text(x - 5, _TOP + 4, str(limit), "limit-text", "end", turned=True))
    parts += [_line(line, across, up) for line in lines if line.points]
    parts += [_mark(mark, across, up) for mark in marks]
    parts += _names([mark for mark in marks if mark.label], across, up, width)
    return _svg(width, height, parts, f"{ylabel} over {xlabel}")


def bars(rows: Sequence[Bar], xlabel: str, label_width: int = 170, width: int = 560) -> str:
    """Horizontal stacked bars, one per row. Empty without rows."""
    if not rows:
        return ""
    ends = [sum(length for _, length, _ in row.parts) for row in rows]
    height = 24 * len(rows) + 48
    across = Scale.over([0.0, *ends, *(row.tick for row in rows if row.tick is not None)], label_width, width - 64)
    parts = [_ticks(across, 8, height - 40, xlabel)]
    for number, row in enumerate(rows):
        y, start = 24 * number + 12, 0.0
        parts.append(_text(label_width - 8, y + 12, row.label, "name", "end"))
        for kind, length, tip in row.parts:
            left, right = sorted((across.at(start), across.at(start + length)))
            box = f'x="{left:.1f}" y="{y}" width="{max(0.5, right - left):.1f}" height="16"'
            parts.append(f'<rect class="fill {kind}" {box} rx="2">{_title(tip)}</rect>')
            start += length
        if row.tick is not None:
            parts.append(f'<line class="tick" x1="{across.at(row.tick):.1f}" x2="{across.at(row.tick):.1f}" y1="{y - 2}" y2="{y + 18}"/>')
        parts.append(_text(max(across.at(start), across.at(row.tick or 0.0), across.at(0.0)) + 7, y + 12, row.value, "bar-value"))
    return _svg(width, height, parts, xlabel)


def timeline(spans: Sequence[Span], xlabel: str, width: int = 1120) -> str:
    """Lanes of work over time. Empty without work."""
    if not spans:
        return ""
    lanes = list(dict.fromkeys(span.lane for span in sorted(spans, key=lambda span: span.begin)))
    height = 32 * len(lanes) + 52
    across = Scale.over([0.0, *(span.begin + span.seconds for span in spans)], 150, width - _RIGHT, room=0.0)
    parts = [_ticks(across, 8, height - 44, xlabel)]
    parts += [_text(142, 32 * number + 28, lane, "name", "end") for number, lane in enumerate(lanes)]
    for span in spans:
        left, right, y = across.at(span.begin), across.at(span.begin + span.seconds), 32 * lanes.index(span.lane) + 12
        inside = _text(left + 4, y + 15, span.candidate, "inside") if right - left > 34 else ""
        box = f'x="{left:.1f}" y="{y}" width="{max(1.0, right - left - 1):.1f}" height="22" rx="3"'
        parts.append(
            f'<g data-candidate="{escape(span.candidate)}"><rect class="fill {span.kind}" {box}>{_title(span.tip)}</rect>{inside}</g>'
        )
    return _svg(width, height, parts, xlabel)


def parallel(axes: Sequence[Coordinate], lines: Sequence[Line], height: int = 400) -> str:
    """One upright axis for each coordinate; a line is (number of the axis, place on it from 0 to 1). Empty without a line."""
    if not axes or not lines:
        return ""
    step = max(78.0, min(130.0, 1120 / len(axes)))
    width, bottom = step * len(axes), height - 30
    across, up = Scale(0.0, 1.0, step / 2, step * 1.5), Scale(0.0, 1.0, bottom, 46)
    parts = [_line(line, across, up) for line in lines]
    for number, axis in enumerate(axes):
        x = across.at(number)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="46" y2="{bottom}"/>')
        parts += [_text(x, 16 + 13 * row, part, "name", "middle") for row, part in enumerate(_two_rows(axis.label))]
        parts += [_text(x + 6, up.at(place) + 4, text, "value") for place, text in axis.ticks]
    return _svg(width, height, parts, "choices and figures of the candidates", own_size=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, room: float = 0.06) -> "Scale":
        """A scale that all of `values` have a place on, with some room at its ends; a zero that is an end stays one."""
        low, high = min(values), max(values)
        if low == high:
            low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
        margin = room * (high - low)
        return cls(low if low == 0 else low - margin, high + margin, start, end)

    def at(self, value: float) -> float:
        """The pixel of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers on the scale."""
        raw = (self.high - self.low) / about
        base = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * base for factor in (1, 2, 5, 10) if factor * base >= raw)
        first = math.ceil(self.low / step)
        count = math.floor((self.high - first * step) / step + 1e-9) + 1
        return [round((first + i) * step, 12) for i in range(max(0, count))]


def _grid(across: Scale, up: Scale, xlabel: str, ylabel: str, width: int, height: int) -> str:
    parts = [_ticks(across, _TOP, height - _BOTTOM, xlabel)]
    for value in up.ticks():
        y = up.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{value:g}", "value", "end"))
    parts.append(_text(14, (_TOP + height - _BOTTOM) / 2, ylabel, "label", "middle", turned=True))
    return "".join(parts)


def _ticks(across: Scale, top: float, bottom: float, xlabel: str) -> str:
    parts = []
    for value in across.ticks(6):
        x = across.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:.1f}"/>')
        parts.append(_text(x, bottom + 16, f"{value:,g}" if abs(value) < 1e5 else f"{value:,.0f}", "value", "middle"))
    parts.append(_text((across.start + across.end) / 2, bottom + 34, xlabel, "label", "middle"))
    return "".join(parts)


def _line(line: Line, across: Scale, up: Scale) -> str:
    places = [(across.at(x), up.at(y)) for x, y in line.points]
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for (_, before), (x, y) in pairwise(places):
        path += f"L{x:.1f} {before:.1f}L{x:.1f} {y:.1f}" if line.stairs else f"L{x:.1f} {y:.1f}"
    name = _text(places[-1][0], places[-1][1] - 6, line.label, "value", "end") if line.label else ""
    return f'<path class="line {line.kind}"{_candidate(line.candidate)} d="{path}">{_title(line.tip)}</path>{name}'


def _mark(mark: Mark, across: Scale, up: Scale) -> str:
    x, y = across.at(mark.x), up.at(mark.y)
    if mark.shape == "star":
        drawn = f'<polygon class="mark {mark.kind}" points="{_star(x, y)}">{_title(mark.tip)}</polygon>'
    else:
        drawn = f'<circle class="mark {mark.shape} {mark.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{_title(mark.tip)}</circle>'
    return f"<g{_candidate(mark.candidate)}>{drawn}</g>"


def _names(marks: Sequence[Mark], across: Scale, up: Scale, width: int) -> list[str]:
    """The labels of marks, next to them; one whose place is taken goes above."""
    taken, names = list[Point](), list[str]()
    for mark in marks:
        x, y = across.at(mark.x), up.at(mark.y) - 7
        while any(abs(x - other) < 30 and abs(y - height) < 11 for other, height in taken):
            y -= 11
        taken.append((x, y))
        left = x > width - 80
        name = _text(x - 9 if left else x + 9, y, mark.label, "point-name", "end" if left else "start")
        names.append(f"<g{_candidate(mark.candidate)}>{name}</g>")
    return names


def _star(x: float, y: float, outer: float = 10.0, inner: float = 4.2) -> str:
    """The corners of a star with five points."""
    turns = [(i * math.pi / 5, inner if i % 2 else outer) for i in range(10)]
    return " ".join(f"{x + radius * math.sin(angle):.1f},{y - radius * math.cos(angle):.1f}" for angle, radius in turns)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Iterable[str], label: str, own_size: bool = False) -> str:
    """`own_size`: as many pixels as it says, scrolled where that is too wide; else as wide as there is room, and no wider than that."""
    fixed = f' style="{"" if own_size else "max-"}width:{width:.0f}px"'
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}"{fixed}>'
    return f"{head}{''.join(parts)}</svg>"


def _title(tip: str) -> str:
    return f"<title>{escape(tip)}</title>" if tip else ""


def _candidate(candidate: str) -> str:
    return f' data-candidate="{escape(candidate)}"' if candidate else ""


def _two_rows(label: str) -> list[str]:
    """The last two names of a dotted path, one below the other."""
    return ["", *label.split(".")][-2:]
