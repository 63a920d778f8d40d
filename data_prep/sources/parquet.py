"""Parquet of The Stack's family: the one reader of it, the schema v1, and the writer that brings other sources into that."""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codenas.errors import CorpusError
from data_prep.document import Document, Entry
from data_prep.rules.filters import alphanumeric_share, line_lengths
from data_prep.sources.blobs import blobs, folder_of_blobs
from data_prep.sources.dialects import Dialect, dialect_of
from data_prep.sources.locations import Location, open_parquet, parquet_at

# Small row groups: a row group is the unit of work, and Ray Data guesses memory from its size on disk.
ROW_GROUP_BYTES = 2_000_000

_KINDS = ("stars", "issues", "forks")
STACK_V1 = pa.schema(
    [("hexsha", pa.string()), ("size", pa.int64()), ("ext", pa.string()), ("lang", pa.string())]
    + [
        column
        for kind in _KINDS
        for column in (
            (f"max_{kind}_repo_path", pa.string()),
            (f"max_{kind}_repo_name", pa.string()),
            (f"max_{kind}_repo_head_hexsha", pa.string()),
            (f"max_{kind}_repo_licenses", pa.list_(pa.string())),
            (f"max_{kind}_count", pa.int64()),
            (f"max_{kind}_repo_{kind}_event_min_datetime", pa.string()),
            (f"max_{kind}_repo_{kind}_event_max_datetime", pa.string()),
        )
    ]
    + [("content", pa.string()), ("avg_line_length", pa.float64()), ("max_line_length", pa.int64()), ("alphanum_fraction", pa.float64())]
)


def parquet_files(source: Location) -> list[Location]:
    """The parquet files of a source, a file or a folder, sorted by their path below it.

    Raises:
        CorpusError: there is none, or one has not the columns or is broken, or it cannot be reached.
    """
    if isinstance(source, Path) and not source.exists():
        raise CorpusError(f"there is no source {source}; give a folder of parquet in The Stack v1 schema, of code, or 'environment'")
    files = parquet_at(source)
    if not files:
        raise CorpusError(f"the source {source} is empty: 0 parquet files; give a folder of parquet in The Stack v1 schema")
    for file in files:
        _check_name(file)
        _check_columns(file)
    return files


def list_entries(files: Iterable[Location], root: Location) -> Iterator[Entry]:
    """Every row as an entry, read from the metadata columns alone. A row without name, path or possible size has them empty.

    Where a data set does not tell the sizes of its documents, each is taken for the mean of its row group until it is read.

    Raises:
        CorpusError: a file is broken inside, or cannot be reached.
    """
    for file in files:
        name = file.relative_to(root).as_posix()  # type: ignore[arg-type]  # both are of one kind
        with open_parquet(file) as parquet:
            dialect = dialect_of(parquet.schema_arrow, str(file))
            for group in range(parquet.num_row_groups):
                table = _listed_columns(parquet, group, dialect, file)
                mean = 0 if dialect.size else _mean_size(parquet, group, dialect)
                for row, cells in enumerate(table):
                    yield _entry(cells, dialect, mean, (name, group, row))


def read_documents(file: Location, row_group: int, rows: Sequence[int]) -> Iterator[Document | str]:
    """The documents of some rows of a row group, in their order; in place of one that cannot be read, the reason.

    Line ends become those of Unix: they say what editor a file was written in, and to a model they are other tokens.

    Raises:
        pyarrow.ArrowException or OSError: the row group itself is broken.
        CorpusError: the file is on another machine that cannot be reached.
    """
    with open_parquet(file) as parquet:
        dialect = dialect_of(parquet.schema_arrow, str(file))
        table = parquet.read_row_group(row_group, columns=list(dialect.read)).take(pa.array(rows, pa.int64()))
    contents = _contents(table, dialect) if dialect.content else blobs(table, dialect, folder_of_blobs(file))
    others = table.drop_columns(dialect.content) if dialect.content else table
    for content, cells in zip(contents, _rows(others), strict=True):
        if isinstance(content, bytes):
            yield _document(content, cells, dialect)
        else:
            yield content


def write_stack(documents: Iterable[Document], file: Path) -> None:
    """Write documents as one file of The Stack v1. What nobody measured (stars, forks, events) is null."""
    with pq.ParquetWriter(file, STACK_V1, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        held = 0
        for document in documents:
            rows.append(stack_row(document))
            held += rows[-1]["size"]
            if held >= ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(rows, STACK_V1))
                rows, held = [], 0
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, STACK_V1))


def stack_row(document: Document) -> dict[str, Any]:
    """One row of The Stack v1."""
    data, lengths = document.data, line_lengths(document.text)
    places = {
        f"max_{kind}_repo_{field}": value
        for kind in _KINDS
        for field, value in (("path", document.path), ("name", document.repository), ("licenses", list(document.licences)))
    }
    return {
        "hexsha": hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest(),  # as git names the file
        "size": len(data),
        "ext": document.path.rpartition(".")[2],
        "lang": document.language,
        **places,
        "content": document.text,
        "avg_line_length": sum(lengths) / len(lengths),
        "max_line_length": max(lengths),
        "alphanum_fraction": alphanumeric_share(document.text),
    }


def _document(content: bytes, cells: Mapping[str, Any], dialect: Dialect) -> Document | str:
    try:
        text = dialect.code(content.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError:
        return "not UTF-8"
    path = cells[dialect.path] or ""
    licences = dialect.licences_of(cells.get(dialect.licences or ""))
    return Document(cells[dialect.repository] or "", path, licences, dialect.language_of(cells.get(dialect.language or ""), path), text)


def _entry(cells: Mapping[str, Any], dialect: Dialect, mean: int, place: tuple[str, int, int]) -> Entry:
    path = cells[dialect.path] or ""
    return Entry(
        sys.intern(cells[dialect.repository] or ""),
        path,
        dialect.licences_of(cells.get(dialect.licences or "")),
        max(cells[dialect.size] or 0, 0) if dialect.size else mean,
        *place,
        stars=_count(cells.get(dialect.stars or "")),
        language=sys.intern(dialect.language_of(cells.get(dialect.language or ""), path)),
        flag=next((reason for name, reason in dialect.flags if cells.get(name)), ""),
    )


def _contents(table: pa.Table, dialect: Dialect) -> Iterator[bytes | str]:
    # As binary: pyarrow does not check the UTF-8 of what it reads, and one bad row would fail the whole column.
    for content in table[dialect.content].cast(pa.large_binary()):
        data: bytes | None = content.as_py()
        yield "null content" if data is None else data


def _listed_columns(parquet: pq.ParquetFile, group: int, dialect: Dialect, file: Location) -> Iterator[dict[str, Any]]:
    try:
        return _rows(parquet.read_row_group(group, columns=list(dialect.listed)))
    except (pa.ArrowException, OSError) as error:
        raise broken(file, error) from None


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table. What in a name is no UTF-8 becomes a question mark: the bytes are somebody's, and the row is good."""
    try:
        columns = table.to_pydict()
    except UnicodeDecodeError:
        columns = {name: _lossy(table[name]) for name in table.column_names}
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _lossy(column: pa.ChunkedArray) -> list[Any]:
    return [_decoded(cell) for cell in column.cast(_as_binary(column.type)).to_pylist()]


def _as_binary(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_as_binary(kind.value_type))
    return pa.large_binary() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind


def _decoded(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_decoded(one) for one in cell]
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell


def _mean_size(parquet: pq.ParquetFile, group: int, dialect: Dialect) -> int:
    """Bytes of a document of a row group, on average, without reading it."""
    held = parquet.metadata.row_group(group)
    columns = (held.column(index) for index in range(held.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == dialect.content)
    return round(size / max(held.num_rows, 1))


def broken(file: Location, error: Exception) -> CorpusError:
    """A file that cannot be read, in one line."""
    reason = str(error).partition("\n")[0]
    return CorpusError(f"{file} is not a whole parquet file ({reason}); fetch it again or take it out of the source")


def _check_name(file: Location) -> None:
    name = str(file)
    if (readable := os.fsencode(name).decode(errors="replace")) != name:
        raise CorpusError(f"{readable} has a name that is not UTF-8 (in place of it: \ufffd); rename it, or take it out of the source")


def _check_columns(file: Location) -> None:
    try:
        with open_parquet(file) as parquet:
            found = parquet.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise broken(file, error) from None
    if dialect_of(found, str(file)).content is None:
        folder_of_blobs(file)


def _count(value: object) -> int:
    """A number of stars, 0 where there is none; some copies of The Stack hold it as a float."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 53 else 0
