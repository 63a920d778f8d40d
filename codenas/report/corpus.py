"""The contents of a corpus as histograms for a terminal, and as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rich.table import Table

from codenas.corpus import CorpusManifest, Tally

_WIDTH = 40  # characters of the longest bar
_PIXELS, _ROW, _LABEL, _VALUE = 420, 20, 200, 190
_LETTER, _MOST_LETTERS = 7, 80  # pixels of a letter; an SVG clips longer labels, and licence names can be long
_COLOUR = "#0072B2"
OLD = "an earlier version prepared this corpus, without statistics of languages and lengths; remove it and prepare it again to get them"


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram: label, value and formatted value of each bar."""

    title: str
    rows: tuple[tuple[str, int, str], ...]


def histograms(manifest: CorpusManifest) -> list[Bars]:
    """Histograms of the documents: reasons for drops, licences, and languages and lengths of each split."""
    drawn = [_tallies("Dropped, by reason", manifest.drops), _tallies("Licences of kept documents", manifest.licences)]
    for split in (name for name in manifest.splits if name in manifest.figures):
        figures = manifest.figures[split]
        languages = tuple(
            (name or "unknown", one.bytes, f"{one.documents:,} documents, {one.bytes / 1e6:,.2f} MB, {one.tokens:,} tokens")
            for name, one in figures.languages.items()
        )
        drawn.append(Bars(f"Languages of {split}", languages))
        drawn.append(_lengths(f"Documents of {split} by bytes", figures.sizes))
        drawn.append(_lengths(f"Documents of {split} by tokens", figures.lengths))
    return [bars for bars in drawn if bars.rows]


def source_lines(manifest: CorpusManifest) -> list[str]:
    """Size of the source and its bad rows; one line that says so where they were not counted."""
    lines = []
    if (held := manifest.held) is not None:
        size = f"{held.files:,} files, {held.row_groups:,} row groups, {held.rows:,} rows, {held.bytes / 1e6:,.2f} MB compressed"
        lines.append(f"source: {size}, digest {held.digest[:12]}")
    if manifest.bad_rows is not None:
        where = ", see quarantine.jsonl" if manifest.bad_rows else ""
        lines.append(f"bad rows: {manifest.bad_rows:,}{where}")
    return [*lines, *([] if manifest.figures else [OLD])]


def bars_table(bars: Bars) -> Table:
    """A histogram for a terminal, scaled to the longest bar."""
    table = Table(title=bars.title, title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(min_width=_WIDTH)
    table.add_column(justify="right")
    most = _most(bars)
    for label, value, text in bars.rows:
        table.add_row(label, "█" * max(round(_WIDTH * value / most), 1 if value else 0), text)
    return table


def corpus_page(manifest: CorpusManifest, name: str) -> str:
    """The corpus called `name` as a self-contained HTML page of tables and histograms."""
    stages = "".join(
        f"<tr><td>{escape(stage)}<td>{tally.documents:,}<td>{tally.bytes / 1e6:,.2f}" for stage, tally in manifest.stages.items()
    )
    splits = "".join(
        f"<tr><td>{escape(split)}<td>{info.repositories:,}<td>{info.documents:,}<td>{info.bytes / 1e6:,.2f}<td>{info.tokens:,}"
        for split, info in manifest.splits.items()
    )
    replaced = [f"replaced: {kind}, {found.values:,} in {found.documents:,} documents" for kind, found in manifest.redacted.items()]
    lines = "".join(f"<p>{escape(line)}" for line in (manifest.source, *source_lines(manifest), *replaced))
    pictures = "".join(f"<h2>{escape(bars.title)}</h2>{_svg(bars)}" for bars in histograms(manifest))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        "<style>body{font:15px sans-serif;max-width:52em;margin:2em auto}td,th{padding:2px 12px;text-align:right}"
        "td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>{escape(name)}</h1><p>corpus {manifest.digest[:12]}, vocabulary of {manifest.vocab_size:,}{lines}"
        f"<h2>Kept after each stage</h2><table><tr><th>stage<th>documents<th>MB{stages}</table>"
        f"<h2>Splits</h2><table><tr><th>split<th>repositories<th>documents<th>MB<th>tokens{splits}</table>{pictures}</html>\n"
    )


def _tallies(title: str, tallies: Mapping[str, Tally]) -> Bars:
    ordered = sorted(tallies.items(), key=lambda item: (-item[1].bytes, item[0]))
    rows = ((name or "none", tally.bytes, f"{tally.documents:,} documents, {tally.bytes / 1e6:,.2f} MB") for name, tally in ordered)
    return Bars(title, tuple(rows))


def _lengths(title: str, bins: Sequence[int]) -> Bars:
    """Bars from the first non-empty bin on; bin n counts 2^(n-1) to 2^n - 1."""
    first = next((number for number, count in enumerate(bins) if count), len(bins))
    rows = ((f"{_from(number):,} to {2**number - 1:,}" if number else "0", bins[number]) for number in range(first, len(bins)))
    return Bars(title, tuple((label, count, f"{count:,}") for label, count in rows))


def _from(number: int) -> int:
    return 1 << (number - 1)


def _most(bars: Bars) -> int:
    return max((value for _, value, _ in bars.rows), default=0) or 1


def _svg(bars: Bars) -> str:
    most, height = _most(bars), _ROW * len(bars.rows)
    labels = [_shortened(label) for label, _, _ in bars.rows]
    left = max(_LABEL, 16 + _LETTER * max(map(len, labels)))
    drawn = "".join(
        f'<text x="{left - 8}" y="{_ROW * number + 14}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{left}" y="{_ROW * number + 3}" width="{_PIXELS * value / most:.1f}" height="{_ROW - 6}" fill="{_COLOUR}"/>'
        f'<text x="{left + 6 + _PIXELS * value / most:.1f}" y="{_ROW * number + 14}">{escape(text)}</text>'
        for number, (label, (_, value, text)) in enumerate(zip(labels, bars.rows, strict=True))
    )
    width = left + _PIXELS + _VALUE * 2
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="12">{drawn}</svg>'


def _shortened(label: str) -> str:
    return label if len(label) <= _MOST_LETTERS else f"{label[: _MOST_LETTERS - 1]}…"
