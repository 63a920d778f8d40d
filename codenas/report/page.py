"""The report of a search: one self-contained HTML file."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from codenas.log import duration
from codenas.metrics import LATENCY, METRICS
from codenas.report import page_charts as charts
from codenas.report.designs import in_words
from codenas.report.fidelity import correlation
from codenas.report.importance import MIN_CANDIDATES, PERMUTATIONS
from codenas.report.page_data import Baseline, Best, CandidateFigures, SearchFigures
from codenas.report.scale import ABSENT, fixed, limit_of
from codenas.report.tables import latency_cell, metric_cell, other_metrics

_SECTIONS = {
    "settings": "Settings",
    "front": "Pareto front",
    "history": "History",
    "importance": "Parameter importance",
    "coordinates": "Parallel coordinates",
    "curves": "Learning curves",
    "fidelity": "Rung fidelity",
    "baselines": "Baselines",
    "timeline": "Timeline",
    "stopped": "Refused and failed",
    "architecture": "Architecture",
    "evaluation": "Evaluation",
    "commands": "Commands",
}


def search_page(figures: SearchFigures) -> str:
    """The page as HTML. Everything that comes from a file is escaped, and the content security policy allows only this script."""
    style, script = (files("codenas.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    bodies = _bodies(figures)
    sections = "\n".join(f'<section id="{name}"><h2>{title}</h2>\n{bodies[name]}</section>' for name, title in _SECTIONS.items())
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Search {escape(figures.run)}</title>
<style>
{style}</style>
</head>
<body>
<header>{_head(figures)}</header>
<nav><div>{links}</div></nav>
<main>
{sections}
</main>
<footer><p>Written by <code>codenas report</code>. All numbers were measured, or computed from measurements; {ABSENT} means not measured.
This file also contains them as JSON.</p></footer>
<div id="tip" hidden></div>
<script type="application/json" id="figures">{_json_for_script(figures)}</script>
<script>{script}</script>
</body>
</html>
"""


def _json_for_script(figures: SearchFigures) -> str:
    """JSON that cannot close its script element: characters with a meaning in HTML are written as escapes."""
    return figures.model_dump_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _bodies(figures: SearchFigures) -> dict[str, str]:
    return {
        "settings": _settings(figures),
        "front": _front(figures),
        "history": _history(figures),
        "importance": _importance(figures),
        "coordinates": _coordinates(figures),
        "curves": _curves(figures),
        "fidelity": _fidelity(figures),
        "baselines": _baselines(figures),
        "timeline": _timeline(figures),
        "stopped": _stopped(figures),
        "architecture": _architecture(figures),
        "evaluation": _evaluation(figures),
        "commands": _commands(figures),
    }


def _head(figures: SearchFigures) -> str:
    state = '<span class="badge">finished</span>' if figures.finished else '<span class="badge open">unfinished</span>'
    note = (
        "* of the session that finished the search; earlier sessions record no wall time."
        if figures.finished
        else "This search is not finished: the page shows the results so far. Wall time and worker utilisation are known at its end."
    )
    scoring = f"; {figures.effort.scoring_steps:,} more steps on scoring branches" if figures.effort.scoring_steps else ""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)} <small>{escape(unit)}</small></dd></div>" for name, value, unit in _tiles(figures)
    )
    return (
        f'<h1>Search {escape(figures.run)} {state}</h1><p class="soft">{escape(figures.progress)}{scoring}</p>'
        f'<dl class="tiles">{tiles}</dl><p class="soft">{note}</p>'
    )


def _tiles(figures: SearchFigures) -> list[tuple[str, str, str]]:
    """The headline numbers: name, value, unit."""
    best, effort, tiles = figures.best, figures.effort, list[tuple[str, str, str]]()
    if best is not None:
        metrics, size = best.metrics, charts.megabytes(best.metrics)
        tiles += [
            ("winner" if figures.finished else "best so far", best.id, f"after {best.rung:,} steps"),
            ("bits per byte", fixed(metrics.bits_per_byte, 3), ""),
            ("stored size", fixed(size, 2), "MB"),
            ("latency, median", metric_cell(metrics, LATENCY), "ms per token"),
            ("parameters", fixed(metrics.params and metrics.params / 1e6, 2), "M"),
        ]
        for name in other_metrics(goal.metric for goal in figures.settings.objectives):
            tiles.append((METRICS[name].label, metric_cell(metrics, name), METRICS[name].shown_unit))
    tiles.append(("training steps", f"{effort.steps:,}", f"in {duration(effort.worker_seconds)}"))
    if effort.wall_seconds is not None:
        tiles.append(("wall time*", duration(effort.wall_seconds), f"{effort.workers} worker{'s' if effort.workers != 1 else ''}"))
    if effort.worker_utilisation is not None:
        tiles.append(("worker utilisation*", f"{100 * effort.worker_utilisation:.0f} %", "of worker time"))
    return tiles


def _settings(figures: SearchFigures) -> str:
    settings = figures.settings
    ladder = " → ".join(f"{rung:,} steps" for rung in settings.rungs)
    widths = " → ".join(f"{count:,}" for count in (settings.candidates, *settings.promote))
    facts = [
        ("space", f"{settings.space}, {settings.combinations:,} combinations of choices"),
        ("strategy", f"{settings.strategy}, seed {settings.seed}"),
        ("rungs", ladder),
        ("candidates", widths),
    ]
    goals = [(goal.metric, goal.direction, f"{goal.weight:g}", goal.limit_text or ABSENT) for goal in settings.objectives]
    choices = [(field, ", ".join(values)) for field, values in settings.choices.items()]
    return (
        f'<div class="pair"><div>{_table(("", ""), facts, prose=(1,))}</div>'
        f"<div>{_table(('objective', 'direction', 'weight', 'limit'), goals, numbers=(2, 3))}"
        '<p class="soft">An objective with weight 0 does not decide; limits are hard constraints.</p></div></div>'
        f"<details><summary>{len(choices)} fields of the search space</summary>"
        f'<div class="wide">{_table(("field", "choices"), choices, prose=(1,))}</div></details>'
    )


def _front(figures: SearchFigures) -> str:
    limits = {goal.metric: goal.limit for goal in figures.settings.objectives}
    size = charts.front_chart(figures, charts.megabytes, "stored size (MB)", limit_of(limits.get("size_bytes"), "MB", 1e6))
    latency = charts.front_chart(figures, charts.latency, "latency (ms per token)", limit_of(limits.get("latency_ms_p50"), "ms"))
    if not size and not latency:
        return _empty("No candidate has reported yet." if not figures.finished else "No candidate was measured.")
    highest = max(rung.rung for each in figures.candidates for rung in each.rungs)
    kinds = {f"after {rung:,} steps": charts.rung_kind(figures, rung) for rung in figures.settings.rungs if rung <= highest}
    legend = _legend({**kinds, f"Pareto front after {highest:,} steps": "k1", "winner" if figures.finished else "best so far": "winner"})
    shown = _figure(size, "quality against stored size") if size else _empty("No size was measured.")
    shown += _figure(latency, "quality against latency") if latency else _empty("No latency was measured.")
    cloud = (
        '<figure><figcaption>all three objectives: drag, or use the arrow keys, to rotate; vertical lines drop to the floor</figcaption>'
        '<svg id="cloud" viewBox="0 0 640 450" role="img" tabindex="0" aria-label="bits per byte over size and latency"></svg></figure>'
        if size and latency
        else ""
    )  # fmt: skip
    members = [each for each in figures.candidates if each.on_front]
    return (
        "<p>Candidates that no other dominates over all objectives, including those with weight 0. A member of the front may be "
        "dominated in one of these two projections.</p>"
        f'{legend}<div class="pair">{shown}</div>{cloud}<h3>Members after {highest:,} steps</h3>{_members(figures, members)}'
    )


def _members(figures: SearchFigures, members: Sequence[CandidateFigures]) -> str:
    rows, winners = list[tuple[str, ...]](), set[int]()
    for each in sorted(members, key=lambda each: each.rungs[-1].metrics.bits_per_byte or float("inf")):
        metrics = each.rungs[-1].metrics
        if figures.best is not None and each.id == figures.best.id:
            winners.add(len(rows))
        rows.append(
            (
                each.id,
                each.design,
                each.origin,
                ", ".join(each.parents) or ABSENT,
                fixed(metrics.bits_per_byte, 3),
                fixed(charts.megabytes(metrics), 2),
                latency_cell(metrics),
                fixed(metrics.params and metrics.params / 1e6, 2),
                f"{each.rungs[-1].rung:,}",
            )
        )
    heads = ("id", "design", "origin", "parents", "bits per byte", "size (MB)", "latency p50 / p95 (ms)", "parameters (M)", "steps")
    return f'<div class="wide">{_table(heads, rows, numbers=range(4, 9), prose=(1,), winners=winners)}</div>'


def _history(figures: SearchFigures) -> str:
    chart = charts.history_chart(figures)
    if not chart:
        return _empty("No candidate has reported.")
    return (
        "<p>Every report against the total training steps at that time. Filled points are at the last rung, rings at lower ones; "
        "the colour is the origin of the candidate. Lines are the best score so far at each rung.</p>"
        f"{_legend(charts.origin_kinds(figures))}{_figure(chart)}"
    )


def _importance(figures: SearchFigures) -> str:
    count = sum(bool(each.rungs) for each in figures.candidates)
    chart = charts.importance_chart(figures)
    if not chart:
        return _empty(
            f"Not assessed: {count} candidates have a score. Importance needs {MIN_CANDIDATES}, and a field that varies over them."
        )
    return (
        f"<p>The share of the variance of bits per byte after {figures.settings.rungs[0]:,} steps that each field explains by itself, over "
        f"{count} candidates (epsilon squared of a one-way analysis of variance). The vertical line is the 95 % quantile of "
        f"{PERMUTATIONS} random permutations: a bar below it (grey) is not significant, and one field in twenty passes by chance. With "
        "few candidates the order is more reliable than the values. Candidates were proposed by the search, not sampled uniformly, so "
        "fields that changed together share the credit.</p>"
        f"{_figure(chart)}"
    )


def _coordinates(figures: SearchFigures) -> str:
    chart = charts.coordinates_chart(figures)
    if not chart:
        return _empty("No candidate was trained.")
    legend = _legend({"winner" if figures.finished else "best so far": "winner", "Pareto front": "k1", "others": "k0"})
    note = "<p>Each line is a candidate: its choices, then its metrics. Hover over a line to highlight it.</p>"
    return f'{note}{legend}<div class="wide parallel">{chart}</div>'


def _curves(figures: SearchFigures) -> str:
    chart = charts.curves_chart(figures)
    if not chart:
        return _empty("This history has no training curves: the version that wrote it did not record them.")
    own = {each.choices.get("vocabulary") for each in figures.candidates}
    note = " These candidates have different vocabularies, so their nats per token are not comparable." if len(own) > 1 else ""
    return (
        "<p>Training loss in nats per token, averaged over a few steps each, at the full learning rate (before any decay branch)."
        f"{note}</p>{_figure(chart)}"
    )


def _fidelity(figures: SearchFigures) -> str:
    if not figures.correlations:
        return _empty("This search has a single rung, so there is no lower one to compare with it.")
    rows = [
        (
            f"{each.low:,} → {each.high:,}",
            f"{each.trials}",
            correlation(each.spearman, each.interval),
            correlation(each.given_size, each.given_size_interval),
        )
        for each in figures.correlations
    ]
    return (
        "<p>Spearman's rank correlation of bits per byte at a lower rung with the last one, over the candidates that reached both. "
        "Only promoted candidates do, and their restricted range lowers the correlation. Larger models score better at every rung, and "
        "their size is known before training: the size-adjusted correlation is that of the residuals of both scores against a "
        "quadratic in the logarithm of the parameters of the layers. Intervals (95 %) are Fisher's, with the variance of Fieller et "
        "al.</p>" + _table(("rung", "candidates", "correlation", "size-adjusted"), rows, numbers=(1, 2, 3))
    )


def _baselines(figures: SearchFigures) -> str:
    baselines = figures.baselines
    if baselines is None:
        return _empty("No candidate has reported at the first rung.")
    rows = [(each.name, f"{each.candidates}", fixed(each.bits_per_byte, 3), _source(each)) for each in baselines.rows]
    return (
        f"<p>What simpler methods would have found among this search's <em>own</em> candidates after {baselines.rung:,} steps. The static "
        "Pareto front is taken over metrics that are known before training (parameters of the layers, and size and latency if they are "
        "objectives). Computed values are exact expectations over all draws of as many candidates.</p>"
        '<div class="pair"><div class="wide">'
        + _table(("method", "candidates", "best bits per byte", "source"), rows, numbers=(1, 2), prose=(0,))
        + f"</div><div>{_legend({'this search, best so far': 'k1', 'random search, expected': 'k4'})}"
        f"{_figure(charts.baselines_chart(figures))}</div></div>"
        '<p class="soft">One run cannot show what another strategy, or more random candidates, would have found: '
        "<code>codenas search record</code> and <code>codenas search replay</code> measure that.</p>"
    )


def _source(baseline: Baseline) -> str:
    return f"measured ({baseline.best})" if baseline.measured else "computed, expected value"


def _timeline(figures: SearchFigures) -> str:
    chart = charts.timeline_chart(figures)
    if not chart:
        return _empty("This history has no timeline: the version that wrote it did not record when and where candidates were trained.")
    kinds = {f"to {rung:,} steps": charts.rung_kind(figures, rung) for rung in figures.settings.rungs}
    return (
        "<p>The jobs of each worker: latency measurement, training and checkpoint. Scoring follows and is not shown."
        f"</p>{_legend({**kinds, 'failed': 'winner'})}<div class='wide'>{_figure(chart)}</div>"
    )


def _stopped(figures: SearchFigures) -> str:
    effort = figures.effort
    summary = f"<p>{effort.trained} candidates trained, {effort.refused} refused, {effort.failed} failed.</p>"
    if not figures.reasons:
        return summary
    rows = [(f"{len(each.candidates)}", each.kind, each.reason, _some(each.candidates)) for each in figures.reasons]
    note = '<p class="soft">Reasons that differ only in their numbers are counted as one; the first is shown.</p>'
    return (
        f'{summary}<div class="wide">{_table(("count", "outcome", "reason", "candidates"), rows, numbers=(0,), prose=(2, 3))}</div>{note}'
    )


def _architecture(figures: SearchFigures) -> str:
    best = figures.best
    if best is None:
        return _empty("No candidate has reported yet.")
    plots = "".join(_figure(chart) for chart in charts.architecture_charts(figures))
    legend = _legend(charts.part_kinds(figures))
    shown = (
        f'{legend}<div class="pair triple">{plots}</div>'
        if plots
        else _empty("The corpus is not available, and with it the vocabulary size.")
    )
    spec = escape(best.design.model_dump_json(indent=2))
    return f"<p>{escape(_headline(best))}</p>{shown}<details><summary>specification (JSON)</summary><pre>{spec}</pre></details>"


def _headline(best: Best) -> str:
    return f"{best.id}: {in_words(best.design)}, context {best.design.arch.context_len:,}"


def _evaluation(figures: SearchFigures) -> str:
    """The trained winner beside what each suite compares it with."""
    if figures.evaluation is None:
        return _empty("The winner is not trained and evaluated yet: codenas train, codenas evaluate.")
    rows = [(row.name.strip(), row.value, row.reference) for summary in figures.evaluation.results.values() for row in summary.rows]
    warnings = "".join(f"<p><b>{escape(warning)}</b></p>" for warning in figures.evaluation.warnings)
    return f"{warnings}{_table(('figure', 'this model', 'reference'), rows, numbers=(1, 2))}"


def _commands(figures: SearchFigures) -> str:
    shown = "".join(f"<h3>{escape(each.purpose)}</h3><pre>{escape(each.line)}</pre>" for each in figures.commands)
    note = "<p>On a CPU and the same corpus the result is bit for bit the same, unless a measured latency decides.</p>"
    return f"{note}<details><summary>job.toml</summary><pre>{escape(figures.job_file)}</pre></details>{shown}"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), prose: Iterable[int] = (), winners: Iterable[int] = ()
) -> str:
    """An HTML table. Columns in `numbers` are right-aligned, those in `prose` may wrap, rows in `winners` are highlighted."""
    kinds = {**dict.fromkeys(numbers, "n"), **dict.fromkeys(prose, "t")}
    marked = set(winners)

    def row(tag: str, cells: Sequence[str]) -> str:
        return "".join(f'<{tag} class="{kinds.get(i, "")}">{escape(cell)}</{tag}>' for i, cell in enumerate(cells))

    body = "".join(f"<tr{' class=winner' if number in marked else ''}>{row('td', cells)}</tr>" for number, cells in enumerate(rows))
    head = f"<thead><tr>{row('th', heads)}</tr></thead>" if any(heads) else ""
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _figure(chart: str, caption: str = "") -> str:
    return f"<figure>{f'<figcaption>{caption}</figcaption>' if caption else ''}{chart}</figure>"


def _legend(kinds: Mapping[str, str]) -> str:
    return f'<ul class="legend">{"".join(f"""<li class="{kind}">{escape(name)}</li>""" for name, kind in kinds.items())}</ul>'


def _empty(sentence: str) -> str:
    return f'<p class="empty">{escape(sentence)}</p>'


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
