"""The unit of work, some rows of one row group, and what a worker finds out about it. Pure functions: no Ray here."""

import contextlib
import gc
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from data_prep.config import PrepareConfig
from data_prep.document import Document, Entry
from data_prep.rules.decontaminate import Benchmarks, load_benchmarks
from data_prep.rules.filters import Filter, first_reason, quality_filters
from data_prep.rules.kinship import sketch
from data_prep.rules.near_dedup import MinHash
from data_prep.rules.redact import KINDS, redact
from data_prep.sources.locations import Location
from data_prep.sources.parquet import is_damage, read_documents, unreadable

_PORTION_ROWS = 1000  # what a worker that dies has done in vain, and what of the results is in memory at a time
UNREADABLE, CONTAMINATED, FAILED = "unreadable", "benchmark text", "failed"
VERDICTS = pa.schema(
    [
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("row", pa.int64()),
        ("reason", pa.string()),  # null: kept
        ("sha256", pa.string()),
        ("size", pa.int64()),  # null: could not be read or examined
        ("language", pa.string()),
        ("lines", pa.list_(pa.uint32())),
        ("bands", pa.binary()),  # null: too short for a near-duplicate, or nobody asked
        ("redacted", pa.list_(pa.int64())),  # values, in the order of KINDS
        ("found", pa.string()),  # the benchmark
        ("matched", pa.string()),
    ]
)


@dataclass(slots=True)
class Unit:
    """Rows of one row group, with the split of each (empty strings before the split is decided)."""

    file: str
    row_group: int
    rows: list[int]
    splits: list[str]

    @property
    def table(self) -> pa.Table:
        """The unit as a table of one row: the form in which it travels to a worker."""
        return pa.table({"file": [self.file], "row_group": [self.row_group], "rows": [self.rows], "splits": [self.splits]})

    @classmethod
    def from_table(cls, table: pa.Table) -> list["Unit"]:
        """The units of a table."""
        return [cls(**row) for row in table.to_pylist()]


@dataclass(frozen=True, slots=True)
class Examiner:
    """What every document goes through. It travels to the workers as a whole."""

    filters: tuple[Filter, ...]
    benchmarks: Benchmarks | None = None
    redact: bool = False
    minhash: MinHash | None = None

    @classmethod
    def of(cls, config: PrepareConfig) -> "Examiner":
        """What `config` asks for.

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


def units_of(entries: Iterable[Entry]) -> list[Unit]:
    """Group entries by row group; units and their rows in the order of the source."""
    placed = sorted(entries, key=lambda entry: entry.place)
    units = []
    for (file, row_group), members in groupby(placed, key=lambda entry: (entry.file, entry.row_group)):
        group = list(members)
        units.append(Unit(file, row_group, [entry.row for entry in group], [entry.split for entry in group]))
    return units


def portions(units: Sequence[Unit], workers: int) -> Iterator[list[Unit]]:
    """Neighbours to be worked on in one go, as to hand work out costs 0.15 s: many at first, single ones at the end.

    Guided self-scheduling (Polychronopoulos and Kuck 1987): a portion is a share of the rows that are left, so that all
    `workers` end at nearly the same time.
    """
    left, taken = sum(len(unit.rows) for unit in units), 0
    while taken < len(units):
        wanted = min(left / (2 * workers), _PORTION_ROWS)
        rows, stop = len(units[taken].rows), taken + 1
        while stop < len(units) and rows + len(units[stop].rows) <= wanted:
            rows, stop = rows + len(units[stop].rows), stop + 1
        yield list(units[taken:stop])
        left, taken = left - rows, stop


def judge(units: pa.Table, root: Location, examiner: Examiner) -> pa.Table:
    """Read the documents of `units` below `root` and say for each why it is dropped, and what decisions need of it."""
    with _no_collection():
        return pa.concat_tables(pa.Table.from_pylist(list(_judge_unit(unit, root, examiner)), VERDICTS) for unit in Unit.from_table(units))


def by_unit(verdicts: pa.Table) -> Iterator[pa.Table]:
    """The verdicts on each unit of a portion."""
    start = 0
    for _, same in groupby(zip(verdicts["file"].to_pylist(), verdicts["row_group"].to_pylist(), strict=True)):
        stop = start + sum(1 for _ in same)
        yield verdicts.slice(start, stop - start)
        start = stop


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Syntax trees are many objects and no cycle: going over them again and again takes Python a third of the time of parsing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _judge_unit(unit: Unit, root: Location, examiner: Examiner) -> Iterator[dict[str, Any]]:
    place = {"file": unit.file, "row_group": unit.row_group}
    try:
        documents = list(read_documents(root / unit.file, unit.row_group, unit.rows))
    except (pa.ArrowException, OSError) as error:
        if not is_damage(error):  # such as a file that is gone: its rows must not be missing without a word
            raise unreadable(root / unit.file, error) from None
        documents = [UNREADABLE] * len(unit.rows)  # one broken row group does not end the job
    for row, document in zip(unit.rows, documents, strict=True):
        if isinstance(document, str):
            yield {**place, "row": row, "reason": document, "sha256": "", "size": None, "language": "", "lines": []}
        else:
            yield {**place, "row": row, **_examine_safely(document, examiner)}


def _examine_safely(document: Document, examiner: Examiner) -> dict[str, Any]:
    """Whatever a rule stumbles over in somebody's file costs that one row, not the job."""
    try:
        return _examine(document, examiner)
    except Exception as error:
        return {"reason": f"{FAILED}: {type(error).__name__}", "sha256": "", "size": None, "language": document.language, "lines": []}


def _examine(document: Document, examiner: Examiner) -> dict[str, Any]:
    """Hash and size are those of the text as it is trained on; benchmarks are looked for in the text as it was."""
    if reason := first_reason(document, examiner.filters):
        return {**_facts(document), "reason": reason}
    if examiner.benchmarks and (match := examiner.benchmarks.match(document.text)):
        return {**_facts(document), "reason": CONTAMINATED, "found": match[0], "matched": match[1]}
    verdict: dict[str, Any] = {}
    if examiner.redact:
        done = redact(document.text, document.language)
        document = replace(document, text=done.text)
        verdict["redacted"] = [done.counts[kind] for kind in KINDS]
    if examiner.minhash:
        verdict["bands"] = examiner.minhash.bands(document.text)
    return {**_facts(document), "lines": sketch(document.text), **verdict}


def _facts(document: Document) -> dict[str, Any]:
    data = document.data
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "language": document.language, "lines": []}
