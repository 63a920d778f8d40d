"""Columns in the types that pandas, polars, cudf and datasets write, converted to the few types that the reader works with.

Text becomes binary: pyarrow does not check the UTF-8 of what it reads, and one bad value would make a whole column unreadable.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.types as kinds

Kind = Literal["text", "texts", "number"]

_TEXT = pa.large_binary()
_TEXTS = pa.large_list(_TEXT)
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_LARGEST = 1 << 53  # the integers that a float holds exactly
_HOW_TO_CONVERT: dict[Kind, tuple[str, str]] = {  # in pandas, with the name of the column
    "text": ("string", 'df["{0}"] = df["{0}"].astype("str")'),
    "texts": ("list<string>", 'df["{0}"] = df["{0}"].map(lambda value: [value])'),
    "number": ("int64", 'df["{0}"] = df["{0}"].astype("int64")'),
}


def is_of_kind(found: pa.DataType, kind: Kind) -> bool:
    """Whether `plain` converts a column of the type `found` to `kind`. A column without any value has the type null."""
    if isinstance(found, pa.BaseExtensionType):
        return is_of_kind(found.storage_type, kind)
    if kinds.is_dictionary(found):
        return kind != "texts" and is_of_kind(found.value_type, kind)
    if kinds.is_null(found):
        return True
    if kind == "texts":
        return _is_list(found) and is_of_kind(found.value_type, "text")
    if kind == "number":
        return kinds.is_integer(found) or kinds.is_floating(found)  # pandas makes floats of integers where some are missing
    return _is_text(found)


def refusal(name: str, found: pa.DataType, kind: Kind) -> str:
    """What is wrong with a column of another type, and how to convert it."""
    wanted, how = _HOW_TO_CONVERT[kind]
    return f"{name} is {found} and must be {wanted} (in pandas: {how.format(name)})"


def plain(table: pa.Table, columns: Mapping[str, Kind]) -> pa.Table:
    """The table with its text as large_binary and its lists of text as large_list<large_binary>; other columns as they are."""
    for index, name in enumerate(table.column_names):
        kind = columns.get(name)
        if kind in ("text", "texts"):
            table = table.set_column(index, name, table[name].cast(_TEXT if kind == "text" else _TEXTS))
    return table


def hive_columns(file: str) -> dict[str, str]:
    """The columns that the folders of a file name, as Hive, Spark and polars do: `lang=Python/part-0.parquet`."""
    pairs = (part.partition("=") for part in PurePosixPath(file).parent.parts)
    return {name: "" if value == _HIVE_NULL else unquote(value) for name, separator, value in pairs if name and separator}


def with_constants(table: pa.Table, constants: Mapping[str, str], names: Iterable[str]) -> pa.Table:
    """The table with those columns of `names` that it lacks and `constants` has, the same in every row."""
    for name in names:
        if name not in table.column_names and name in constants:
            table = table.append_column(name, pa.repeat(pa.scalar(constants[name].encode(), _TEXT), table.num_rows))
    return table


def values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column that `plain` gave; bytes that are not UTF-8 become a replacement character."""
    return [_decoded(cell) for cell in column.to_pylist()]


def count_of(value: object) -> int:
    """A size or a count; 0 where it is missing or impossible."""
    return int(value) if isinstance(value, int | float) and 0 <= value < _LARGEST else 0


def _is_text(found: pa.DataType) -> bool:
    binary = kinds.is_binary(found) or kinds.is_large_binary(found) or kinds.is_binary_view(found) or kinds.is_fixed_size_binary(found)
    return binary or kinds.is_string(found) or kinds.is_large_string(found) or kinds.is_string_view(found)


def _is_list(found: pa.DataType) -> bool:
    plain_list = kinds.is_list(found) or kinds.is_large_list(found) or kinds.is_fixed_size_list(found)
    return plain_list or kinds.is_list_view(found) or kinds.is_large_list_view(found)


def _decoded(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_decoded(one) for one in cell]
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell
