"""A table of recorded results: one row per architecture.

A column is a choice, a metric, or a metric after a number of training steps: `bits_per_byte@50`. Tables recorded by CodeNAS name
choices `choice.d_model`; in other tables every column without another role is a choice. A row without a final score is an
architecture that could not be trained.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow
from pyarrow import parquet

from codenas.errors import ConfigError
from codenas.files import is_complete_json, write_atomic
from codenas.metrics import LatencyContext, context_name

Cell = int | float | bool | str | None
Row = dict[str, Cell]
Numbers = npt.NDArray[np.float64]

CHOICE = "choice."
_CONTEXT = "latency_context."


def at_step(metric: str, step: int) -> str:
    """The column of `metric` after `step` training steps."""
    return f"{metric}@{step}"


def context_cells(context: LatencyContext | None) -> Row:
    """The latency context of a row, as cells; empty if it is unknown."""
    return {} if context is None else {f"{_CONTEXT}{name}": value for name, value in context.model_dump().items()}


def context_of(row: Mapping[str, Cell]) -> LatencyContext | None:
    """The inverse of `context_cells`."""
    cells = {name.removeprefix(_CONTEXT): value for name, value in row.items() if name.startswith(_CONTEXT) and value is not None}
    return LatencyContext.model_validate(cells) if cells else None


def read_lines(path: Path) -> list[Row]:
    """The JSON objects of an append-only file, one per line; empty without a file. An incomplete last line is skipped."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if is_complete_json(line)]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` as parquet; missing values are null."""
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(_columns(rows)), file)
    write_atomic(path, file.getvalue())


@dataclass(slots=True, frozen=True)
class Table:
    """Columns of equal length, with at least one row."""

    path: Path
    columns: Mapping[str, Sequence[Cell]]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """The table in a file: parquet, npz with an array for each column, or jsonl.

        Raises:
            ConfigError: there is no file, it cannot be read, or it has no row.
        """
        if path.suffix not in _READERS:
            raise ConfigError(f"{path} is no table: its name must end in {', '.join(_READERS)}")
        if not path.is_file():
            raise ConfigError(f"there is no table {path}; record one with: codenas search record")
        try:
            columns = _READERS[path.suffix](path)
        except (ValueError, KeyError, pyarrow.ArrowException, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path} cannot be read as {path.suffix.removeprefix('.')}: {str(error).splitlines()[0]}") from error
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ConfigError(f"the columns of {path} have {sorted(lengths)} rows; a table has one value of each column in a row")
        if lengths in (set(), {0}):
            raise ConfigError(f"{path} has no row; there is nothing to replay")
        return cls(path, columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def require(self, names: Sequence[str]) -> None:
        """Check that all of `names` are columns.

        Raises:
            ConfigError: some are not; the message lists the columns.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ConfigError(f"{self.path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(self.columns)}")

    def numbers(self, name: str, gaps: bool = False) -> Numbers:
        """A column of finite numbers; with `gaps` cells may be empty, which gives nan.

        Raises:
            ConfigError: the column is missing, or a cell is no finite number.
        """
        self.require([name])
        return np.array([self._number(name, row, cell, gaps) for row, cell in enumerate(self.columns[name])], dtype=np.float64)

    def steps(self, metric: str) -> list[int]:
        """The training steps after which `metric` was recorded, ascending; empty if it is a single column."""
        found = (re.fullmatch(rf"{re.escape(metric)}@([1-9][0-9]*)", name) for name in self.columns)
        return sorted(int(match[1]) for match in found if match)

    def choices(self, names: Sequence[str], metrics: Sequence[str]) -> dict[str, Sequence[Cell]]:
        """The columns `names`; by default those that begin with `choice.`, or all that are not among `metrics`.

        Raises:
            ConfigError: a name is not a column, or there is no choice.
        """
        self.require(names)
        marked = [name for name in self.columns if name.startswith(CHOICE)]
        rest = [name for name in self.columns if name.partition("@")[0] not in metrics]
        found = list(names) or marked or rest
        if not found:
            raise ConfigError(f"{self.path} has no choice: all its columns are metrics, {', '.join(self.columns)}")
        return {name.removeprefix(CHOICE): self.columns[name] for name in found}

    def require_like_latencies(self, metrics: Sequence[str]) -> None:
        """Check that latencies among `metrics` are comparable: all rows that have one share its context.

        Raises:
            ConfigError: they do not.
        """
        latency = next((name for name in metrics if name.startswith("latency")), None)
        if latency is None:
            return
        named = [name for name in self.columns if name.startswith(_CONTEXT)]
        timed = [place for place, cell in enumerate(self.columns.get(latency, ())) if cell is not None]
        found = dict.fromkeys(context_of({name: self.columns[name][place] for name in named}) for place in timed)
        if len(found) > 1:
            places = " and ".join(map(context_name, found))
            raise ConfigError(f"{self.path} holds latencies of {places}, which are not comparable; leave {latency} out, or split the table")

    def _number(self, name: str, row: int, cell: Cell, gaps: bool) -> float:
        if cell is None and gaps:
            return math.nan
        if isinstance(cell, bool) or not isinstance(cell, int | float) or not math.isfinite(cell):
            way_out = "leave it empty if that architecture could not be trained" if gaps else "leave the row out"
            raise ConfigError(f"{self.path}, row {row}: {name} is {cell!r} and must be a finite number; {way_out}")
        return float(cell)


def _columns(rows: Sequence[Row]) -> dict[str, list[Cell]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path) -> dict[str, list[Cell]]:
    return {name: [_cell(value) for value in column] for name, column in parquet.read_table(path).to_pydict().items()}


def _read_npz(path: Path) -> dict[str, list[Cell]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: [_cell(value) for value in arrays[name].tolist()] for name in arrays.files}


def _read_jsonl(path: Path) -> dict[str, list[Cell]]:
    rows = read_lines(path)
    if any(not isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object of columns")
    return _columns([{name: _cell(value) for name, value in row.items()} for row in rows])


_READERS = {".parquet": _read_parquet, ".npz": _read_npz, ".jsonl": _read_jsonl}


def _cell(value: object) -> Cell:
    """A value as a cell; a list, such as a pattern, becomes one string."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    if value is None or isinstance(value, int | float | bool | str):
        return value
    raise ValueError(f"{value!r} is neither a number nor a word")
