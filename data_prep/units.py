"""The unit of work, some rows of one row group, and what a worker finds out about it. Pure functions: no Ray here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.config import Thresholds
from data_prep.document import Entry
from data_prep.filters import first_reason, quality_filters
from data_prep.kinship import sketch
from data_prep.sources import read_documents

UNREADABLE = "unreadable"
VERDICTS = pa.schema(
    [
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("row", pa.int64()),
        ("reason", pa.string()),  # null: kept
        ("sha256", pa.string()),
        ("size", pa.int64()),  # null: could not be read
        ("lines", pa.list_(pa.uint32())),
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


def units_of(entries: Iterable[Entry]) -> list[Unit]:
    """Group entries by row group; units and their rows in the order of the source."""
    placed = sorted(entries, key=lambda entry: entry.place)
    units = []
    for (file, row_group), members in groupby(placed, key=lambda entry: (entry.file, entry.row_group)):
        group = list(members)
        units.append(Unit(file, row_group, [entry.row for entry in group], [entry.split for entry in group]))
    return units


def judge(units: pa.Table, root: Path, thresholds: Thresholds) -> pa.Table:
    """Read the documents of `units` below `root` and say for each why it is dropped, its hash, size and lines."""
    verdicts = [verdict for unit in Unit.from_table(units) for verdict in _judge_unit(unit, root, thresholds)]
    return pa.Table.from_pylist(verdicts, VERDICTS)


def _judge_unit(unit: Unit, root: Path, thresholds: Thresholds) -> Iterator[dict[str, Any]]:
    place = {"file": unit.file, "row_group": unit.row_group}
    filters = quality_filters(thresholds)
    try:
        documents = list(read_documents(root / unit.file, unit.row_group, unit.rows))
    except (pa.ArrowException, OSError):
        documents = [UNREADABLE] * len(unit.rows)  # one broken row group does not end the job
    for row, document in zip(unit.rows, documents, strict=True):
        if isinstance(document, str):
            yield {**place, "row": row, "reason": document, "sha256": "", "size": None, "lines": []}
        else:
            reason = first_reason(document, filters)
            facts = {"sha256": document.sha256, "size": len(document.data), "lines": [] if reason else sketch(document.text)}
            yield {**place, "row": row, "reason": reason, **facts}
