"""Token usage of vocabularies on text, and the parameters that a vocabulary costs a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from codenas.report.scale import fixed, percent, scaled
from codenas.vocab.frequencies import FrequencyTable, LanguageUse

TOP = 20


def uses_table(table: FrequencyTable) -> Table:
    """Usage of a vocabulary by language and in total."""
    shown = Table(title=f"{table.vocab_size:,} ids on {table.source}", title_justify="left")
    shown.add_column("language")
    for heading in ("documents", "MB", "tokens", "bytes per token", "unused ids"):
        shown.add_column(heading, justify="right")
    for language, use in table.languages.items():
        shown.add_row(language, *_use_cells(use, table.vocab_size))
    if len(table.languages) > 1:
        shown.add_section()
        shown.add_row("total", *_use_cells(table.total, table.vocab_size))
    return shown


def frequent_table(table: FrequencyTable) -> Table:
    """The most frequent tokens."""
    shown = Table(title=f"Top {TOP}", title_justify="left")
    for heading in ("", "id", "token", "bytes", "count", "share"):
        shown.add_column(heading, justify="left" if heading == "token" else "right")
    for place, use in enumerate(table.tokens[:TOP], 1):
        shown.add_row(str(place), str(use.id), Text(use.token), str(use.bytes), f"{use.count:,}", f"{100 * use.share:.2f} %")
    return shown


@dataclass(frozen=True, slots=True)
class Compared:
    """One of several vocabularies: its usage by language, and the parameters of a model with it.

    Attributes:
        embedding: parameters that grow with the vocabulary, including the output head unless it is tied.
        parameters: of the whole model.
    """

    name: str
    size: int
    languages: Mapping[str, LanguageUse]
    total: LanguageUse
    embedding: int
    parameters: int


def comparison_table(rows: Sequence[Compared], source: str, model: str) -> Table:
    """Vocabularies compared on the same texts."""
    languages = list(rows[0].languages)
    table = Table(title=f"On {source}; parameters of {model}", title_justify="left")
    table.add_column("vocabulary")
    headings = ("ids", "bytes per\ntoken", *(f"\n{language}" for language in languages if len(languages) > 1), "unused\nids")
    for heading in (*headings, "embedding\nparameters", "of all\nparameters"):
        table.add_column(heading, justify="right")
    for row in rows:
        each = [fixed(row.languages[language].bytes_per_token, 2) for language in languages if len(languages) > 1]
        table.add_row(
            row.name, f"{row.size:,}", fixed(row.total.bytes_per_token, 2), *each, percent(row.total.unused / row.size),
            scaled(row.embedding), percent(row.embedding / row.parameters),
        )  # fmt: skip
    return table


def _use_cells(use: LanguageUse, size: int) -> tuple[str, ...]:
    unused = f"{use.unused:,} ({100 * use.unused / size:.0f} %)"
    return f"{use.documents:,}", f"{use.bytes / 1e6:.2f}", f"{use.tokens:,}", fixed(use.bytes_per_token, 2), unused
