"""Statistics of sampled vocabularies: how many of them contain each token, by language."""

from collections.abc import Mapping
from itertools import islice

from rich.table import Table
from rich.text import Text

from codenas.report.scale import fixed, percent
from codenas.vocab.sampling.details import LanguageFigures
from codenas.vocab.sampling.pieces import BLANKS, BYTES, FORCED
from codenas.vocab.sampling.statistics import SampleStats

TOP = 20
_SHORT, _LONG = 4, 9  # bytes: a token is short up to the first, long from the second on


def sampling_figures(stats: SampleStats, unique: int) -> list[tuple[str, str]]:
    """The sampling as names and values for `summary_lines`; averages are over the successful draws."""
    occurrences = sum(part.occurrences for part in stats.languages.values())
    forced = stats.draws * len(FORCED)
    return [
        ("batches", f"{stats.draws:,}, and {stats.failed:,} failed"),
        ("total occurrences", f"{occurrences:,}: {occurrences - forced:,} drawn, {forced:,} forced"),
        ("unique tokens", f"{unique:,} drawn"),
        ("average per batch", f"{occurrences / max(stats.draws, 1):,.1f} tokens"),
        ("forced", f"{len(BYTES)} bytes and {len(BLANKS)} runs of blanks, in every vocabulary"),
        ("languages", ", ".join(f"{language} ({part.draws:,})" for language, part in sorted(stats.languages.items()))),
    ]


def languages_table(figures: Mapping[str, LanguageFigures]) -> Table:
    """One line per language."""
    table = Table(title="Drawn tokens by language", title_justify="left")
    table.add_column("language")
    headings = (
        "batches", "failed", "unique", "in every\nbatch", "in half\nor more", "mean\nlog-score", "text in\none-piece words",
        "bytes per\ntoken", f"2 to {_SHORT}\nbytes", f"{_LONG} or\nmore",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for language, one in figures.items():
        numbers = (f"{count:,}" for count in (one.draws, one.failed, one.unique, one.always, one.often))
        total = sum(one.lengths.values())
        short = sum(count for size, count in one.lengths.items() if size <= _SHORT)
        long = sum(count for size, count in one.lengths.items() if size >= _LONG)
        table.add_row(
            language, *numbers, fixed(one.mean_log_score, 2), percent(one.coverage), fixed(one.mean_bytes, 2),
            *(percent(part / total if total else None) for part in (short, long)),
        )  # fmt: skip
    return table


def top_table(counts: Mapping[str, int], draws: int) -> Table:
    """The tokens that are in most vocabularies. `counts` has the most frequent first."""
    table = Table(title=f"Top {TOP} of the drawn tokens", title_justify="left")
    for heading in ("", "token", "batches", "share"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    for place, (token, count) in enumerate(islice(counts.items(), TOP), 1):
        table.add_row(str(place), Text(token), f"{count:,}", f"{100 * count / draws:.1f} %")
    return table
