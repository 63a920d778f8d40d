"""The books of the stage: what each step left, and what was dropped under which reason. Rules decide, the ledger counts."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.corpus import Redacted, Tally
from codenas.errors import CorpusError, first_fault
from codenas.files import write_atomic
from data_prep.document import Entry

NOTHING = Tally(documents=0, bytes=0)

_ENTRIES = pa.schema(
    [
        ("repository", pa.string()),
        ("path", pa.string()),
        ("licences", pa.list_(pa.string())),
        ("size", pa.int64()),
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("row", pa.int64()),
        ("sha256", pa.string()),
        ("split", pa.string()),
        ("language", pa.string()),
    ]
)
_PAGE = b"ledger"
_BATCH = 1 << 12

Rule = Callable[[Entry], str | None]  # the reason to drop an entry, None to keep it


class Match(BaseModel):
    """A dropped document, and what in it was found where."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    repository: str
    path: str
    found: str
    matched: str


class BadRow(BaseModel):
    """A row of the source that could not be read or examined, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    row_group: int
    row: int
    reason: str


class LedgerPage(BaseModel):
    """A ledger on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    source: str
    stages: dict[str, Tally]
    drops: dict[str, Tally]
    benchmarks: tuple[Match, ...] = ()
    redacted: dict[str, Redacted] = {}


class Ledger:
    """Documents left after each stage, in order, and documents dropped, by reason.

    Attributes:
        benchmarks: the documents that were dropped for the benchmark text in them.
        redacted: values replaced in the documents kept, by kind, and under "all" together.
        quarantine: rows that could not be read or examined; not on the page but in a file of their own.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.stages: dict[str, Tally] = {}
        self.drops: dict[str, Tally] = {}
        self.benchmarks: list[Match] = []
        self.redacted: dict[str, Redacted] = {}
        self.quarantine: list[BadRow] = []

    def enter(self, stage: str, entries: Iterable[Entry]) -> list[Entry]:
        """Count `entries` as what is left after `stage`."""
        kept = list(entries)
        self.stages[stage] = Tally(documents=len(kept), bytes=sum(entry.size for entry in kept))
        return kept

    def drop(self, reason: str, size: int) -> None:
        """Count one dropped document."""
        self.drops[reason] = self.drops.get(reason, NOTHING) + Tally(documents=1, bytes=size)

    def sift(self, entries: Iterable[Entry], rule: Rule) -> list[Entry]:
        """Keep the entries to which `rule`, asked in their order, has no objection; count the others."""
        kept: list[Entry] = []
        for entry in entries:
            reason = rule(entry)
            if reason is None:
                kept.append(entry)
            else:
                self.drop(reason, entry.size)
        return kept

    def page(self) -> LedgerPage:
        """The ledger as a file."""
        drops = dict(sorted(self.drops.items()))
        return LedgerPage(source=self.source, stages=self.stages, drops=drops, benchmarks=tuple(self.benchmarks), redacted=self.redacted)

    @classmethod
    def reopen(cls, page: LedgerPage) -> "Ledger":
        """Go on where `page` ended."""
        ledger = cls(page.source)
        ledger.stages, ledger.drops = dict(page.stages), dict(page.drops)
        ledger.benchmarks, ledger.redacted = list(page.benchmarks), dict(page.redacted)
        return ledger


def save_entries(path: Path, entries: Iterable[Entry], ledger: Ledger) -> None:
    """Write the kept documents as a table, one row each, and the ledger with them: both or neither are on disk."""
    held = list(entries)
    table = pa.table({name: [getattr(entry, name) for entry in held] for name in _ENTRIES.names}, _ENTRIES)
    table = table.replace_schema_metadata({_PAGE: ledger.page().model_dump_json()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def load_entries(path: Path) -> tuple[list[Entry], Ledger]:
    """Read what `save_entries` wrote.

    Raises:
        CorpusError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:  # pq.read_table would add columns for folders named KEY=VALUE
            table = file.read()
        page = LedgerPage.model_validate_json(table.schema.metadata[_PAGE])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValidationError) as error:
        raise damaged(path, error) from None
    kept = set(_ENTRIES.names) & set(table.column_names)  # earlier versions did not store every column
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # a few licences stand in many rows
    entries = [entry for batch in table.select(sorted(kept)).to_batches(_BATCH) for entry in _entries_of(batch, shared)]
    return entries, Ledger.reopen(page)


def damaged(path: Path, error: Exception) -> CorpusError:
    """A file of a corpus that cannot be read, in one line."""
    reason = first_fault(error) if isinstance(error, ValidationError) else str(error).partition("\n")[0]
    return CorpusError(f"{path} is damaged ({reason}); restore it, or remove the folder {path.parent} and run codenas prepare again")


def save_quarantine(path: Path, rows: Iterable[BadRow]) -> None:
    """Write the bad rows as lines of JSON, in the order of the source: their places and reasons, never their content."""
    ordered = sorted(rows, key=lambda row: (row.file, row.row_group, row.row))
    write_atomic(path, "".join(f"{row.model_dump_json()}\n" for row in ordered))


def _entries_of(batch: pa.RecordBatch, shared: dict[tuple[str, ...], tuple[str, ...]]) -> Iterator[Entry]:
    for row in batch.to_pylist():
        licences = tuple(row["licences"])
        names = {name: sys.intern(row[name]) for name in ("repository", "file", "split", "language") if name in row}
        yield Entry(**row | names | {"licences": shared.setdefault(licences, licences)})
