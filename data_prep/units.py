"""The unit of work: some rows of one row group."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from data_prep.document import Entry

_MOST_ROWS = 1000  # of a task: the work lost when a worker dies, and the results that are in memory at a time


@dataclass(slots=True)
class Unit:
    """Rows of one row group, with the split of each (empty strings before the split is assigned)."""

    file: str
    row_group: int
    rows: list[int]
    splits: list[str]

    @property
    def table(self) -> pa.Table:
        """The unit as a table of one row, the form in which it is sent to a worker."""
        return pa.table({"file": [self.file], "row_group": [self.row_group], "rows": [self.rows], "splits": [self.splits]})

    @classmethod
    def from_table(cls, table: pa.Table) -> list["Unit"]:
        """The units of a table."""
        return [cls(**row) for row in table.to_pylist()]


def units_of(entries: Iterable[Entry]) -> list[Unit]:
    """Group entries by row group; units and their rows are in the order of the source."""
    placed = sorted(entries, key=lambda entry: entry.place)
    units = []
    for (file, row_group), members in groupby(placed, key=lambda entry: (entry.file, entry.row_group)):
        group = list(members)
        units.append(Unit(file, row_group, [entry.row for entry in group], [entry.split for entry in group]))
    return units


def schedule(units: Sequence[Unit], workers: int) -> Iterator[list[Unit]]:
    """Tasks of consecutive units: large ones first, as starting a task costs 0.15 s, and small ones at the end.

    Guided self-scheduling (Polychronopoulos and Kuck 1987): the size of a task is a fraction of the remaining rows, so that
    all `workers` finish at nearly the same time.
    """
    remaining, start = sum(len(unit.rows) for unit in units), 0
    while start < len(units):
        wanted = min(remaining / (2 * workers), _MOST_ROWS)
        rows, stop = len(units[start].rows), start + 1
        while stop < len(units) and rows + len(units[stop].rows) <= wanted:
            rows, stop = rows + len(units[stop].rows), stop + 1
        yield list(units[start:stop])
        remaining, start = remaining - rows, stop
