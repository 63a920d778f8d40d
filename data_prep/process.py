"""What a worker does with the documents of a unit: filter, decontaminate, redact, hash. Pure functions: no Ray here."""

import contextlib
import gc
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from data_prep.config import PrepareConfig
from data_prep.document import Document
from data_prep.rules.decontaminate import Benchmarks, load_benchmarks
from data_prep.rules.filters import Filter, first_reason, quality_filters
from data_prep.rules.forks import line_sketch
from data_prep.rules.near_dedup import MinHash
from data_prep.rules.redact import KINDS, redact
from data_prep.sources.locations import Location
from data_prep.sources.parquet import is_damage, read_documents, unreadable
from data_prep.units import Unit

UNREADABLE, CONTAMINATED, FAILED = "unreadable", "benchmark text", "failed"
RESULTS = pa.schema(
    [
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("row", pa.int64()),
        ("reason", pa.string()),  # to drop the document; null: it is kept
        ("sha256", pa.string()),
        ("size", pa.int64()),  # null: the row could not be read or processed
        ("language", pa.string()),
        ("lines", pa.list_(pa.uint32())),  # the line sketch
        ("bands", pa.binary()),  # of the MinHash; null: the text is too short, or near-deduplication is off
        ("redacted", pa.list_(pa.int64())),  # number of replaced values, in the order of KINDS
        ("found", pa.string()),  # the benchmark passage
        ("matched", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class DocumentProcessor:
    """The steps that every document goes through. It is sent to the workers as a whole."""

    filters: tuple[Filter, ...]
    benchmarks: Benchmarks | None = None
    redact: bool = False
    minhash: MinHash | None = None

    @classmethod
    def of(cls, config: PrepareConfig) -> "DocumentProcessor":
        """The steps that `config` asks for.

        Raises:
            ConfigError: a benchmark cannot be read.
        """
        near = config.near_dedup
        return cls(
            quality_filters(config.filters),
            load_benchmarks(config.decontaminate) if config.decontaminate else None,
            config.redact,
            MinHash(near.shingle, near.bands, near.rows) if near.enabled else None,
        )


def process(units: pa.Table, root: Location, processor: DocumentProcessor) -> pa.Table:
    """Read the documents of `units` below `root` and process each.

    Returns:
        A table with the schema `RESULTS`, one row per document.

    Raises:
        CorpusError: a file cannot be opened.
    """
    with _no_collection():
        tables = (pa.Table.from_pylist(list(_process_unit(unit, root, processor)), RESULTS) for unit in Unit.from_table(units))
        return pa.concat_tables(tables)


def by_row_group(results: pa.Table) -> Iterator[pa.Table]:
    """The results of each row group."""
    start = 0
    for _, same in groupby(zip(results["file"].to_pylist(), results["row_group"].to_pylist(), strict=True)):
        stop = start + sum(1 for _ in same)
        yield results.slice(start, stop - start)
        start = stop


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: syntax trees are many objects without cycles, and traversing them costs a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _process_unit(unit: Unit, root: Location, processor: DocumentProcessor) -> Iterator[dict[str, Any]]:
    place = {"file": unit.file, "row_group": unit.row_group}
    try:
        documents = list(read_documents(root / unit.file, unit.row_group, unit.rows))
    except (pa.ArrowException, OSError) as error:
        if not is_damage(error):  # a file that is gone, for example: its rows must not be missing silently
            raise unreadable(root / unit.file, error) from None
        documents = [UNREADABLE] * len(unit.rows)  # one damaged row group does not end the job
    for row, document in zip(unit.rows, documents, strict=True):
        if isinstance(document, str):
            yield {**place, "row": row, "reason": document, "sha256": "", "size": None, "language": "", "lines": []}
        else:
            yield {**place, "row": row, **_process_safely(document, processor)}


def _process_safely(document: Document, processor: DocumentProcessor) -> dict[str, Any]:
    """Whatever a rule raises on one document costs that row, not the job."""
    try:
        return _process(document, processor)
    except Exception as error:
        return {"reason": f"{FAILED}: {type(error).__name__}", "sha256": "", "size": None, "language": document.language, "lines": []}


def _process(document: Document, processor: DocumentProcessor) -> dict[str, Any]:
    """Hash and size are those of the redacted text, which is trained on; benchmarks are searched for in the original text."""
    if reason := first_reason(document, processor.filters):
        return {**_properties(document), "reason": reason}
    if processor.benchmarks and (match := processor.benchmarks.match(document.text)):
        return {**_properties(document), "reason": CONTAMINATED, "found": match[0], "matched": match[1]}
    result: dict[str, Any] = {}
    if processor.redact:
        done = redact(document.text, document.language)
        document = replace(document, text=done.text)
        result["redacted"] = [done.counts[kind] for kind in KINDS]
    if processor.minhash:
        result["bands"] = processor.minhash.bands(document.text)
    return {**_properties(document), "lines": line_sketch(document.text), **result}


def _properties(document: Document) -> dict[str, Any]:
    data = document.data
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "language": document.language, "lines": []}
