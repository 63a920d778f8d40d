"""A table of recorded results: one row an architecture.

A column is a choice, a metric, or a metric after so many training steps: `bits_per_byte@50`. What records a table names its
choices `choice.d_model`; another table's choices are its columns that are no metric.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
from pyarrow import parquet

from codenas.files import write_atomic

Cell = int | float | bool | str | None
Row = dict[str, Cell]

CHOICE = "choice."


def at_step(metric: str, step: int) -> str:
    """The column of `metric` after `step` training steps."""
    return f"{metric}@{step}"


def read_lines(path: Path) -> list[Row]:
    """The objects in an append-only file, one a line; none where there is no file. A line that a kill has torn is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if _whole(line)]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` as parquet; what a row lacks is null."""
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    write_atomic(path, file.getvalue())


def _whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
