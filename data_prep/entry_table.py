"""`documents.parquet`: the documents of a corpus, one row each, and in its metadata the statistics."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from codenas.files import write_atomic
from data_prep.document import Entry
from data_prep.statistics import Statistics, StatisticsFile, damaged

_SCHEMA = pa.schema(
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
_STATISTICS = b"ledger"  # the key in the metadata, under its first name
_BATCH = 1 << 12  # rows


def save_entries(path: Path, entries: Iterable[Entry], statistics: Statistics) -> None:
    """Write the kept documents and the statistics: both are on disk, or neither."""
    held = list(entries)
    table = pa.table({name: [getattr(entry, name) for entry in held] for name in _SCHEMA.names}, _SCHEMA)
    table = table.replace_schema_metadata({_STATISTICS: statistics.to_file().model_dump_json()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def load_entries(path: Path) -> tuple[list[Entry], Statistics]:
    """Read what `save_entries` wrote.

    Raises:
        CorpusError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:  # pq.read_table would add columns for folders named KEY=VALUE
            table = file.read()
        stored = StatisticsFile.model_validate_json(table.schema.metadata[_STATISTICS])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValidationError) as error:
        raise damaged(path, error) from None
    kept = set(_SCHEMA.names) & set(table.column_names)  # earlier versions did not store every column
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # a few licences occur in many rows
    entries = [entry for batch in table.select(sorted(kept)).to_batches(_BATCH) for entry in _entries_of(batch, shared)]
    return entries, Statistics.from_file(stored)


def _entries_of(batch: pa.RecordBatch, shared: dict[tuple[str, ...], tuple[str, ...]]) -> Iterator[Entry]:
    for row in batch.to_pylist():
        licences = tuple(row["licences"])
        names = {name: sys.intern(row[name]) for name in ("repository", "file", "split", "language") if name in row}
        yield Entry(**row | names | {"licences": shared.setdefault(licences, licences)})
