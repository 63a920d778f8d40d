"""The page of a search: one HTML file that needs nothing beside it, neither a network nor another file."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from codenas.log import duration
from codenas.report import page_charts as charts
from codenas.report.fidelity import correlation
from codenas.report.importance import LEAST_CANDIDATES, SHUFFLES
from codenas.report.page_data import Baseline, CandidateFigures, Leader, SearchFigures
from codenas.report.scale import ABSENT, fixed

_SECTIONS = {
    "asked": "The question",
    "front": "The front",
    "history": "History",
    "choices": "Choices that matter",
    "coordinates": "Candidates",
    "curves": "Learning curves",
    "fidelity": "Trust in low rungs",
    "baselines": "Baselines",
    "workers": "Workers",
    "lost": "Refused and failed",
    "architecture": "Architecture",
    "commands": "Commands",
}


def search_page(figures: SearchFigures) -> str:
    """The page as HTML. Whatever comes from a file is escaped; the script is the only one that the page lets run."""
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
<footer><p>Written by <code>codenas report</code>. Every figure was measured or computed from measured ones; {ABSENT} is one that was not.
All of them stand in this file as JSON too.</p></footer>
<div id="tip" hidden></div>
<script type="application/json" id="figures">{_json_for_script(figures)}</script>
<script>{script}</script>
</body>
</html>
"""


def _json_for_script(figures: SearchFigures) -> str:
    """JSON that cannot end the element it stands in: what HTML would read is written by its number."""
    return figures.model_dump_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _bodies(figures: SearchFigures) -> dict[str, str]:
    return {
        "asked": _asked(figures),
        "front": _front(figures),
        "history": _history(figures),
        "choices": _choices(figures),
        "coordinates": _coordinates(figures),
        "curves": _curves(figures),
        "fidelity": _fidelity(figures),
        "baselines": _baselines(figures),
        "workers": _workers(figures),
        "lost": _lost(figures),
        "architecture": _architecture(figures),
        "commands": _commands(figures),
    }


def _head(figures: SearchFigures) -> str:
    state = '<span class="badge">finished</span>' if figures.finished else '<span class="badge open">no result yet</span>'
    note = (
        "* of the session that finished the search; earlier ones leave no times."
        if figures.finished
        else "This search has no result yet: the page shows what there is. Wall time and training share are known at its end."
    )
    scoring = f"; {figures.effort.scoring_steps:,} more steps only to score rungs" if figures.effort.scoring_steps else ""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)} <small>{escape(unit)}</small></dd></div>" for name, value, unit in _tiles(figures)
    )
    return (
        f'<h1>Search {escape(figures.run)} {state}</h1><p class="soft">{escape(figures.progress)}{scoring}</p>'
        f'<dl class="tiles">{tiles}</dl><p class="soft">{note}</p>'
    )


def _tiles(figures: SearchFigures) -> list[tuple[str, str, str]]:
    """What counts most: name, value, unit."""
    leader, effort, tiles = figures.leader, figures.effort, list[tuple[str, str, str]]()
    if leader is not None:
        metrics, size = leader.metrics, charts.megabytes(leader.metrics)
        tiles += [
            ("winner" if figures.finished else "best so far", leader.id, f"after {leader.rung:,} steps"),
            ("bits per byte", fixed(metrics.bits_per_byte, 3), ""),
            ("stored size", fixed(size, 2), "MB"),
            ("latency, median", fixed(metrics.latency_ms_p50, 2), "ms per token"),
            ("parameters", fixed(metrics.params and metrics.params / 1e6, 2), "M"),
        ]
    tiles.append(("training steps", f"{effort.steps:,}", f"{duration(effort.worker_seconds)} in them"))
    if effort.wall_seconds is not None:
        tiles.append(("wall time*", duration(effort.wall_seconds), f"{effort.workers} worker{'s' if effort.workers != 1 else ''}"))
    if effort.training_share is not None:
        tiles.append(("training share*", f"{100 * effort.training_share:.0f} %", "of worker time"))
    return tiles


def _asked(figures: SearchFigures) -> str:
    asked = figures.asked
    ladder = " → ".join(f"{rung:,} steps" for rung in asked.rungs)
    widths = " → ".join(f"{count:,}" for count in (asked.candidates, *asked.promote))
    facts = [
        ("space", f"{asked.space}, {asked.combinations:,} combinations of choices"),
        ("strategy", f"{asked.strategy}, seed {asked.seed}"),
        ("rungs", ladder),
        ("candidates", widths),
    ]
    goals = [(goal.metric, goal.direction, f"{goal.weight:g}", goal.told or ABSENT) for goal in asked.objectives]
    choices = [(field, ", ".join(values)) for field, values in asked.choices.items()]
    return (
        f'<div class="pair"><div>{_table(("", ""), facts, prose=(1,))}</div>'
        f"<div>{_table(('objective', 'direction', 'weight', 'limit'), goals, numbers=(2, 3))}"
        '<p class="soft">What has weight 0 decides nothing; a limit is never broken.</p></div></div>'
        f"<details><summary>{len(choices)} fields of the space and their choices</summary>"
        f'<div class="wide">{_table(("field", "choices"), choices, prose=(1,))}</div></details>'
    )


def _front(figures: SearchFigures) -> str:
    limits = {goal.metric: goal.limit for goal in figures.asked.objectives}
    most_bytes = limits.get("size_bytes")
    size = charts.front_chart(figures, charts.megabytes, "stored size (MB)", most_bytes and most_bytes / 1e6)
    latency = charts.front_chart(figures, charts.latency, "latency (ms per token)", limits.get("latency_ms_p50"))
    if not size and not latency:
        return _empty("No candidate has reported yet." if not figures.finished else "No candidate was measured.")
    highest = max(rung.rung for each in figures.candidates for rung in each.rungs)
    kinds = {f"after {rung:,} steps": charts.rung_kind(figures, rung) for rung in figures.asked.rungs if rung <= highest}
    legend = _legend({**kinds, f"front after {highest:,} steps": "k1", "winner" if figures.finished else "best so far": "winner"})
    shown = _figure(size, "against stored size") if size else _empty("No size was measured.")
    shown += _figure(latency, "against latency") if latency else _empty("No latency was measured: there is nothing to draw against it.")
    cloud = (
        '<figure><figcaption>all three: drag to turn, or use the arrow keys; the upright strokes end on the floor</figcaption>'
        '<svg id="cloud" viewBox="0 0 640 450" role="img" tabindex="0" aria-label="bits per byte over size and latency"></svg></figure>'
        if size and latency
        else ""
    )  # fmt: skip
    members = [each for each in figures.candidates if each.on_front]
    return (
        "<p>Who is beaten by nobody in all objectives together, those without a weight included. "
        "A member of the whole front may lie behind in one of these pictures.</p>"
        f'{legend}<div class="pair">{shown}</div>{cloud}<h3>Members after {highest:,} steps</h3>{_members(figures, members)}'
    )


def _members(figures: SearchFigures, members: Sequence[CandidateFigures]) -> str:
    rows, winners = list[tuple[str, ...]](), set[int]()
    for each in sorted(members, key=lambda each: each.rungs[-1].metrics.bits_per_byte or float("inf")):
        metrics = each.rungs[-1].metrics
        if figures.leader is not None and each.id == figures.leader.id:
            winners.add(len(rows))
        rows.append(
            (
                each.id,
                each.design,
                each.origin,
                ", ".join(each.parents) or ABSENT,
                fixed(metrics.bits_per_byte, 3),
                fixed(charts.megabytes(metrics), 2),
                f"{fixed(metrics.latency_ms_p50, 2)} / {fixed(metrics.latency_ms_p95, 2)}",
                fixed(metrics.params and metrics.params / 1e6, 2),
                f"{each.rungs[-1].rung:,}",
            )
        )
    heads = ("id", "design", "origin", "parents", "bits per byte", "size (MB)", "latency p50 / p95 (ms)", "parameters (M)", "steps")
    return f'<div class="wide">{_table(heads, rows, numbers=range(4, 9), prose=(1,), winners=winners)}</div>'


def _history(figures: SearchFigures) -> str:
    chart = charts.history_chart(figures)
    if not chart:
        return _empty("Nothing was reported.")
    return (
        "<p>Every report at the training steps that all candidates together had taken by then. A filled point is at the last rung, "
        "a ring below it; the colour says who proposed the candidate. The lines are the best so far of each rung.</p>"
        f"{_legend(charts.origin_kinds(figures))}{_figure(chart)}"
    )


def _choices(figures: SearchFigures) -> str:
    count = sum(bool(each.rungs) for each in figures.candidates)
    chart = charts.importance_chart(figures)
    if not chart:
        return _empty(f"{count} candidates have a score; below {LEAST_CANDIDATES}, or where no choice differs, nothing can be said.")
    return (
        f"<p>For each field: the share of the variance of bits per byte after {figures.asked.rungs[0]:,} steps that it explains by itself, "
        f"over {count} candidates (eta squared of a one-way analysis of variance, adjusted for the number of choices: epsilon squared). "
        f"The upright stroke is what 95 % of {SHUFFLES} random shuffles of the scores stay below: a bar that does not pass it (grey) "
        "may be chance alone, and one field in twenty passes by luck. Few candidates mean wide intervals: read the order rather than "
        "the figures. Candidates were chosen by the search, not drawn evenly, so fields that were changed together share the credit.</p>"
        f"{_figure(chart)}"
    )


def _coordinates(figures: SearchFigures) -> str:
    chart = charts.coordinates_chart(figures)
    if not chart:
        return _empty("No candidate was trained.")
    legend = _legend({"winner" if figures.finished else "best so far": "winner", "front": "k1", "others": "k0"})
    note = "<p>Each line is a candidate: its choices, then what it was worth. Point at one.</p>"
    return f'{note}{legend}<div class="wide parallel">{chart}</div>'


def _curves(figures: SearchFigures) -> str:
    chart = charts.curves_chart(figures)
    if not chart:
        return _empty("This history holds no curves: they are recorded since a later version.")
    own = {each.choices.get("vocabulary") for each in figures.candidates}
    note = " These candidates read different vocabularies: their nats per token do not compare." if len(own) > 1 else ""
    return (
        "<p>Loss on the training batches in nats per token, as means over some steps each; at the full rate, before any scoring branch."
        f"{note}</p>{_figure(chart)}"
    )


def _fidelity(figures: SearchFigures) -> str:
    if not figures.correlations:
        return _empty("This search has one rung only: nothing was screened.")
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
        "<p>Spearman's correlation of bits per byte at a low rung with the last one, over the candidates that reached both. Only the "
        "promoted did, whose scores lie close together: that lowers it. Larger models score better at every rung, and their size is "
        "known before training; with size taken out the correlation is that of the residuals of both scores against a quadratic in "
        "the logarithm of the parameters of the layers. The intervals (95 %) are Fisher's, with the variance of Fieller et al.</p>"
        + _table(("rung", "candidates", "correlation", "with size taken out"), rows, numbers=(1, 2, 3))
    )


def _baselines(figures: SearchFigures) -> str:
    told = figures.baselines
    if told is None:
        return _empty("Nobody has reported at the first rung.")
    rows = [(each.name, f"{each.candidates}", fixed(each.bits_per_byte, 3), _how(each)) for each in told.rows]
    return (
        f"<p>What less than this search would have had from <em>its own</em> candidates, after {told.rung:,} steps. The training-free "
        "front are those whom no other beats in what is known before training (parameters of the layers, and the objectives among "
        "size and latency). What is computed is the exact mean over all ways to draw so many of the candidates.</p>"
        '<div class="pair"><div class="wide">'
        + _table(("who", "candidates", "best bits per byte", "how known"), rows, numbers=(1, 2), prose=(0,))
        + f"</div><div>{_legend({'this search, best so far': 'k1', 'random draws, on average': 'k4'})}"
        f"{_figure(charts.baselines_chart(figures))}</div></div>"
        '<p class="soft">These are no replays: what other strategies, or more random draws, would have found is not known from one run. '
        "<code>codenas search record</code> and <code>codenas search replay</code> measure that.</p>"
    )


def _how(baseline: Baseline) -> str:
    return f"measured ({baseline.best})" if baseline.measured else "computed, a mean"


def _workers(figures: SearchFigures) -> str:
    chart = charts.workers_chart(figures)
    if not chart:
        return _empty("This history does not say when and where its candidates were trained: that is recorded since a later version.")
    kinds = {f"to {rung:,} steps": charts.rung_kind(figures, rung) for rung in figures.asked.rungs}
    return (
        "<p>Who trained what when: from the beginning of a job, its latency measured first, to the stored checkpoint. "
        f"Scoring comes after that.</p>{_legend({**kinds, 'failed': 'winner'})}<div class='wide'>{_figure(chart)}</div>"
    )


def _lost(figures: SearchFigures) -> str:
    effort = figures.effort
    summary = f"<p>{effort.trained} candidates trained, {effort.refused} refused, {effort.failed} failed.</p>"
    if not figures.reasons:
        return summary
    rows = [(f"{len(each.candidates)}", each.kind, each.reason, _some(each.candidates)) for each in figures.reasons]
    note = '<p class="soft">Reasons that differ in their figures alone are counted as one; the first of them is shown.</p>'
    return f'{summary}<div class="wide">{_table(("count", "", "reason", "candidates"), rows, numbers=(0,), prose=(2, 3))}</div>{note}'


def _architecture(figures: SearchFigures) -> str:
    leader = figures.leader
    if leader is None:
        return _empty("There is none.")
    drawn = "".join(_figure(chart) for chart in charts.architecture_charts(figures))
    legend = _legend(charts.part_kinds(figures))
    shown = f'{legend}<div class="pair triple">{drawn}</div>' if drawn else _empty("The corpus is not at hand, so nothing is drawn.")
    spec = escape(leader.design.model_dump_json(indent=2))
    return f"<p>{escape(_headline(leader))}</p>{shown}<details><summary>specification</summary><pre>{spec}</pre></details>"


def _headline(leader: Leader) -> str:
    arch = leader.stored_arch
    shape = f"{arch.n_layers} layers x {arch.d_model}, {arch.norm}, positions {arch.position}, context {arch.context_len:,}"
    return f"{leader.id}: {shape}, stored as {leader.design.storage}"


def _commands(figures: SearchFigures) -> str:
    shown = "".join(f"<h3>{escape(each.purpose)}</h3><pre>{escape(each.line)}</pre>" for each in figures.commands)
    job = "This job cannot be written as TOML; its JSON is search/job.json." if figures.job_file is None else figures.job_file
    note = "<p>On the same corpus a CPU finds the same to the bit wherever no measured latency decides.</p>"
    return f"{note}<details><summary>job.toml</summary><pre>{escape(job)}</pre></details>{shown}"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), prose: Iterable[int] = (), winners: Iterable[int] = ()
) -> str:
    """Columns of `numbers` stand to the right, those of `prose` may break lines; rows of `winners` are marked."""
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
