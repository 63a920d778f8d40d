"""The charts of the report: from its data to points, lines and bars."""

from collections.abc import Callable, Sequence
from functools import partial

from codenas.metrics import METRICS, Metrics, TrainingCurve
from codenas.report.architecture import KINDS, profile_bars
from codenas.report.charts import Bar, Coordinate, Line, Mark, Shape, Span, bars, parallel, plot, timeline
from codenas.report.page_data import CandidateFigures, Rung, SearchFigures
from codenas.report.plots import ProfileBar, Segment
from codenas.report.scale import ABSENT, Limit, brief, scaled
from codenas.report.tables import other_metrics

BITS = "bits per byte on held-out code"
_RUNG_KINDS = ("k0", "k2", "k3", "k4", "k5", "k6")
_ORIGIN_KINDS = ("k1", "k2", "k3", "k4", "k5", "k6")

Measure = Callable[[Metrics], float | None]

# The costs of a part: axis label, scale of the axis, unit of the printed value, and the value itself.
_COSTS: tuple[tuple[str, float, str, Callable[[Segment], float]], ...] = (
    ("parameters (M)", 1e6, "", lambda segment: segment.parameters),
    ("decoding a token (MFLOP)", 1e6, "FLOP", lambda segment: segment.decoding_flops),
    ("decoding state at full context (kB)", 1e3, "B", lambda segment: segment.state_bytes),
)


def megabytes(metrics: Metrics) -> float | None:
    """The stored size in MB."""
    return None if metrics.size_bytes is None else metrics.size_bytes / 1e6


def latency(metrics: Metrics) -> float | None:
    """The median latency in ms per token."""
    return metrics.latency_ms_p50


def rung_kind(figures: SearchFigures, rung: int) -> str:
    """The colour of a rung."""
    known = sorted({*figures.settings.rungs, rung})
    return _RUNG_KINDS[known.index(rung) % len(_RUNG_KINDS)]


def origin_kinds(figures: SearchFigures) -> dict[str, str]:
    """The colour of every origin."""
    origins = dict.fromkeys(each.origin for each in figures.candidates)
    return {origin: _ORIGIN_KINDS[number % len(_ORIGIN_KINDS)] for number, origin in enumerate(origins)}


def front_chart(figures: SearchFigures, measure: Measure, xlabel: str, limit: Limit | None) -> str:
    """Bits per byte against `measure`, one point per report; empty if it was not measured."""
    marks, front = list[Mark](), list[tuple[float, float]]()
    highest = max((rung.rung for each in figures.candidates for rung in each.rungs), default=0)
    for each in figures.candidates:
        for rung in each.rungs:
            x, y = measure(rung.metrics), rung.metrics.bits_per_byte
            if x is None or y is None:
                continue
            member = each.on_front and rung.rung == highest
            won = _is_best(figures, each) and rung.rung == highest
            kind = "winner" if won else "k1" if member else rung_kind(figures, rung.rung)
            shape: Shape = "star" if won and figures.finished else "dot" if member or won else "ring"
            marks.append(Mark(x, y, tooltip(each, rung), each.id, kind, shape, each.id if member or won else ""))
            front += [(x, y)] if member else []
    marks.sort(key=lambda mark: mark.shape != "ring")
    stairs = [Line(_staircase(front), kind="front", stairs=True)] if front else []
    return plot(marks, stairs, xlabel, BITS, limit) if marks else ""


def history_chart(figures: SearchFigures) -> str:
    """All reports over time, and the best score so far at each rung."""
    kinds, last = origin_kinds(figures), figures.settings.rungs[-1]
    reports = [(each, rung) for each in figures.candidates for rung in each.rungs if rung.metrics.bits_per_byte is not None]
    reports.sort(key=lambda pair: pair[1].step)
    marks = [
        Mark(rung.step, bits, tooltip(each, rung), each.id, kinds[each.origin], "dot" if rung.rung == last else "ring")
        for each, rung in reports
        if (bits := rung.metrics.bits_per_byte) is not None
    ]
    end, lines = max((rung.step for _, rung in reports), default=0), list[Line]()
    for level in sorted({rung.rung for _, rung in reports}):
        points = [(float(rung.step), rung.best) for _, rung in reports if rung.rung == level and rung.best is not None]
        points.append((float(end), points[-1][1]))
        lines.append(Line(points, kind="k0", stairs=True, label=f"best so far after {level:,} steps"))
    return plot(marks, lines, "total training steps", BITS, size=(1120, 380))


def importance_chart(figures: SearchFigures) -> str:
    """Shares of the variance, each with its significance threshold."""
    rows = []
    for each in figures.importances:
        tip = f"{each.field}, {each.levels} choices: {100 * each.share:.0f} %; 95 % of permutations are below {100 * each.chance:.0f} %"
        kind = "k1" if each.share > each.chance else "k0"
        rows.append(Bar(each.field, [(kind, 100 * max(0.0, each.share), tip)], 100 * max(0.0, each.chance), f"{100 * each.share:.0f} %"))
    return bars(rows, "share of the variance explained (%); vertical line: 95 % of permutations", 210, 760)


def coordinates_chart(figures: SearchFigures) -> str:
    """One line per candidate through its choices and its metrics."""
    trained = [each for each in figures.candidates if each.rungs]
    axes, places = list[Coordinate](), list[dict[str, float]]()
    for field, choices in figures.settings.choices.items():
        used = [choice for choice in choices if any(each.choices[field] == choice for each in trained)]
        if len(used) > 1:
            spot = {choice: number / (len(used) - 1) for number, choice in enumerate(used)}
            axes.append(Coordinate(field, [(place, choice) for choice, place in spot.items()]))
            places.append({each.id: spot[each.choices[field]] for each in trained if each.choices[field] in spot})
    for label, of in _measures(figures):
        values = {each.id: value for each in trained if (value := of(each)) is not None}
        if values:
            low, high = min(values.values()), max(values.values())
            axes.append(Coordinate(label, [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")] if high > low else [(0.5, f"{low:.4g}")]))
            places.append({who: (value - low) / (high - low) if high > low else 0.5 for who, value in values.items()})
    ordered = sorted(trained, key=lambda each: (_is_best(figures, each), each.on_front))
    lines = []
    for each in ordered:
        points = [(float(number), place[each.id]) for number, place in enumerate(places) if each.id in place]
        lines.append(Line(points, tooltip(each, each.rungs[-1]), each.id, _kind(figures, each)))
    return parallel(axes, lines)


def curves_chart(figures: SearchFigures) -> str:
    """The training curve of every candidate; empty if none was recorded."""
    lines = []
    for each in sorted(figures.candidates, key=lambda each: _is_best(figures, each)):
        points = [point for _, curve in curves(each) for point in curve.losses]
        if points:
            tip = f"{each.id} ({each.origin}): {points[-1][1]:.3f} nats per token at step {points[-1][0]:,}"
            lines.append(Line([(float(step), loss) for step, loss in sorted(points)], tip, each.id, _kind(figures, each)))
    return plot([], lines, "training steps", "training loss (nats per token)", size=(1120, 380))


def timeline_chart(figures: SearchFigures) -> str:
    """The jobs of every worker over time; empty if they were not recorded."""
    jobs = [(each, rung, curve) for each in figures.candidates for rung, curve in curves(each)]
    if not jobs:
        return ""
    zero = min(curve.started for _, _, curve in jobs)
    longest = max(curve.started + curve.seconds for _, _, curve in jobs) - zero
    unit, name = (60.0, "minutes") if longest > 300 else (1.0, "seconds")
    spans = []
    for each, rung, curve in jobs:
        target = f"to {rung:,} steps" if rung is not None else "failed"
        kind = rung_kind(figures, rung) if rung is not None else "winner"
        tip = f"{each.id} {target}: {curve.seconds:.1f} s, started at {curve.started - zero:,.0f} s, {curve.worker}"
        spans.append(Span(curve.worker, (curve.started - zero) / unit, curve.seconds / unit, tip, each.id, kind))
    return timeline(spans, f"{name} since the first job")


def baselines_chart(figures: SearchFigures) -> str:
    """The best of the first candidates, and the expected best of as many random ones."""
    baselines = figures.baselines
    if baselines is None:
        return ""
    search = [(float(number), best) for number, best in enumerate(baselines.search, 1)]
    random = [(float(number), best) for number, best in enumerate(baselines.random, 1)]
    lines = [Line(search, "this search: best so far (measured)", kind="k1", stairs=True)]
    lines += [Line(random, "random search: expected best (computed)", kind="k4")] if random else []
    marks = [Mark(x, y, f"the best of {x:.0f}: {y:.3f} bits per byte", kind="k1") for x, y in search[-1:]]
    marks += [Mark(x, y, f"the best of all {x:.0f} random candidates: {y:.3f} bits per byte", kind="k4") for x, y in random[-1:]]
    return plot(marks, lines, "candidates trained to the first rung", f"best {BITS}")


def architecture_charts(figures: SearchFigures) -> tuple[str, ...]:
    """Parameters, FLOPs and decoding state of the best candidate's stored model by module; empty if the vocabulary is not available."""
    best = figures.best
    if best is None or best.vocab_size is None:
        return ()
    places = profile_bars(best.stored_arch, best.vocab_size)
    return tuple(_profile(places, *each) for each in _COSTS)


def part_kinds(figures: SearchFigures) -> dict[str, str]:
    """The colour of every kind of part in the best candidate."""
    best = figures.best
    if best is None or best.vocab_size is None:
        return {}
    used = {segment.kind for bar in profile_bars(best.stored_arch, best.vocab_size) for segment in bar.segments}
    return {kind: _part_kind(kind) for kind in KINDS if kind in used}


def curves(candidate: CandidateFigures) -> list[tuple[int | None, TrainingCurve]]:
    """Its recorded trainings with the rungs they reached; None for the one that failed."""
    reached: list[tuple[int | None, TrainingCurve]] = [(rung.rung, rung.curve) for rung in candidate.rungs if rung.curve is not None]
    return [*reached, *([(None, candidate.failed_curve)] if candidate.failed_curve is not None else [])]


def tooltip(candidate: CandidateFigures, rung: Rung) -> str:
    """The tooltip of a report."""
    metrics, size = rung.metrics, megabytes(rung.metrics)
    figures = [
        ABSENT if metrics.bits_per_byte is None else f"{metrics.bits_per_byte:.3f} bits per byte",
        "" if size is None else f"{brief(size)} MB",
        "" if metrics.latency_ms_p50 is None else f"{brief(metrics.latency_ms_p50)} ms per token",
    ]
    choices = ", ".join(f"{field.rpartition('.')[2]} {choice}" for field, choice in candidate.choices.items())
    of = f" of {' and '.join(candidate.parents)}" if candidate.parents else ""
    return f"{candidate.id} ({candidate.origin}{of}) after {rung.rung:,} steps\n{', '.join(filter(None, figures))}\n{choices}"


def _profile(places: Sequence[ProfileBar], name: str, scale: float, unit: str, amount: Callable[[Segment], float]) -> str:
    rows = []
    for place in places:
        parts = [(_part_kind(each.kind), amount(each) / scale, f"{each.kind}: {scaled(amount(each), unit)}") for each in place.segments]
        rows.append(Bar(place.label, parts, value=scaled(sum(map(amount, place.segments)), unit)))
    return bars(rows, name, 126, 420)


def _measures(figures: SearchFigures) -> list[tuple[str, Callable[[CandidateFigures], float | None]]]:
    """The metrics that have an axis among the parallel coordinates."""
    named: list[tuple[str, Callable[[CandidateFigures], float | None]]] = [
        ("parameters (M)", lambda each: each.rungs[-1].metrics.params and each.rungs[-1].metrics.params / 1e6),
        ("size (MB)", lambda each: megabytes(each.rungs[-1].metrics)),
        ("latency (ms)", lambda each: latency(each.rungs[-1].metrics)),
    ]
    others = other_metrics(goal.metric for goal in figures.settings.objectives)
    named += [(METRICS[name].heading, partial(_value, name)) for name in others]
    return [*named, *((f"bpb.after {rung:,}", partial(_bits_at, rung)) for rung in figures.settings.rungs)]


def _value(metric: str, candidate: CandidateFigures) -> float | None:
    """The value of `metric` after the last rung, in the unit that it is shown in."""
    value: float | None = getattr(candidate.rungs[-1].metrics, metric)
    return None if value is None else METRICS[metric].scaled(value)


def _bits_at(rung: int, candidate: CandidateFigures) -> float | None:
    return next((each.metrics.bits_per_byte for each in candidate.rungs if each.rung == rung), None)


def _is_best(figures: SearchFigures, candidate: CandidateFigures) -> bool:
    return figures.best is not None and figures.best.id == candidate.id


def _kind(figures: SearchFigures, candidate: CandidateFigures) -> str:
    return "winner" if _is_best(figures, candidate) else "k1" if candidate.on_front else "k0"


def _part_kind(kind: str) -> str:
    return f"k{KINDS.index(kind) % 7}"


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the front in two of its dimensions, without points that are dominated in these two."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not corners or y < corners[-1][1]:
            corners.append((x, y))
    return corners
