"""The reader of parquet of The Stack's family, and the writer of The Stack v1 for sources that are not parquet."""

import contextlib
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
from data_prep.sources.columns import count_of, hive_columns, plain, values, with_constants
from data_prep.sources.locations import Location, open_parquet, parquet_at
from data_prep.sources.schemas import Schema, schema_of

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
        CorpusError: there is none, one is damaged or lacks columns, or the source cannot be reached.
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
    """Every row as an entry, read from the metadata columns alone; missing names are empty, and an impossible size is 0.

    If a data set has no sizes, the size of each document is the mean of its row group until it is read.

    Raises:
        CorpusError: a file is damaged, or cannot be reached.
    """
    for file in files:
        name = file.relative_to(root).as_posix()  # type: ignore[arg-type]  # both are of one kind
        with open_parquet(file) as parquet:
            schema = schema_of(parquet.schema_arrow, str(file))
            for group in range(parquet.num_row_groups):
                with readable_parquet(file):
                    table = read_columns(parquet, group, schema.metadata_columns, file)
                mean = 0 if schema.size else _mean_size(parquet, group, schema)
                for row, cells in enumerate(_rows(table)):
                    yield _entry(cells, schema, mean, (name, group, row))


def read_documents(file: Location, row_group: int, rows: Sequence[int]) -> Iterator[Document | str]:
    """The documents of some rows of a row group, in their order; in place of one that cannot be read, the reason.

    Line ends become those of Unix: they depend on the editor, and would be other tokens to the model.

    Raises:
        pyarrow.ArrowException or OSError: the row group is damaged.
        CorpusError: the file is on another machine that cannot be reached.
    """
    with open_parquet(file) as parquet:
        schema = schema_of(parquet.schema_arrow, str(file))
        table = read_columns(parquet, row_group, schema.document_columns, file).take(pa.array(rows, pa.int64()))
    contents = _contents(table[schema.content]) if schema.content else blobs(table, schema, folder_of_blobs(file))
    others = table.drop_columns(schema.content) if schema.content else table
    for content, cells in zip(contents, _rows(others), strict=True):
        yield _document(content, cells, schema) if isinstance(content, bytes) else content


def read_columns(parquet: pq.ParquetFile, row_group: int, columns: Sequence[str], file: Location) -> pa.Table:
    """Those of `columns` that `file` has or its folders name, text as binary.

    Raises:
        pyarrow.ArrowException or OSError: the row group is damaged.
    """
    kinds = schema_of(parquet.schema_arrow, str(file)).kinds
    table = plain(parquet.read_row_group(row_group, columns=list(columns)), kinds)
    return with_constants(table, hive_columns(str(file)), [name for name in columns if name in kinds])


@contextlib.contextmanager
def readable_parquet(file: Location) -> Iterator[None]:
    """Turn what pyarrow and the system raise while `file` is read into a `CorpusError` of one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from None


def is_damage(error: pa.ArrowException | OSError) -> bool:
    """Whether an error means that a file is damaged. System errors (no such file, no permission) have an errno, those of pyarrow do not."""
    return not isinstance(error, OSError) or error.errno is None


def write_stack(documents: Iterable[Document], file: Path) -> None:
    """Write documents as one file of The Stack v1. Unknown values (stars, forks, events) are null."""
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


def _document(content: bytes, cells: Mapping[str, Any], schema: Schema) -> Document | str:
    try:
        text = schema.without_header(content.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError:
        return "not UTF-8"
    path = cells[schema.path] or ""
    licences = schema.licences_of(cells.get(schema.licences or ""))
    return Document(cells[schema.repository] or "", path, licences, schema.language_of(cells.get(schema.language or ""), path), text)


def _entry(cells: Mapping[str, Any], schema: Schema, mean: int, place: tuple[str, int, int]) -> Entry:
    path = cells[schema.path] or ""
    return Entry(
        sys.intern(cells[schema.repository] or ""),
        path,
        schema.licences_of(cells.get(schema.licences or "")),
        count_of(cells[schema.size]) if schema.size else mean,
        *place,
        stars=count_of(cells.get(schema.stars or "")),
        language=sys.intern(schema.language_of(cells.get(schema.language or ""), path)),
        flag=next((reason for name, reason in schema.flags if cells.get(name)), ""),
    )


def _contents(column: pa.ChunkedArray) -> Iterator[bytes | str]:
    """The text of each row as bytes, whatever they are; the reason in place of one that is missing."""
    for content in column:
        data: bytes | None = content.as_py()
        yield "null content" if data is None else data


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    columns = {name: values(table[name]) for name in table.column_names}
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _mean_size(parquet: pq.ParquetFile, group: int, schema: Schema) -> int:
    """Bytes of a document of a row group, on average, without reading it."""
    held = parquet.metadata.row_group(group)
    columns = (held.column(index) for index in range(held.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == schema.content)
    return round(size / max(held.num_rows, 1))


def unreadable(file: Location, error: pa.ArrowException | OSError) -> CorpusError:
    """The error that says in one line why `file` cannot be read."""
    if isinstance(error, OSError) and error.errno is not None:
        return CorpusError(f"{file} cannot be read: {os.strerror(error.errno)}; restore it, or take it out of the source")
    reason = str(error).partition("\n")[0]
    return CorpusError(f"{file} is not a whole parquet file ({reason}); fetch it again or take it out of the source")


def _check_name(file: Location) -> None:
    name = str(file)
    if (readable := os.fsencode(name).decode(errors="replace")) != name:
        raise CorpusError(f"{readable} has a name that is not UTF-8 (in place of it: \ufffd); rename it, or take it out of the source")


def _check_columns(file: Location) -> None:
    with readable_parquet(file), open_parquet(file) as parquet:
        found = parquet.schema_arrow
    if schema_of(found, str(file)).content is None:
        folder_of_blobs(file)
