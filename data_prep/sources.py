"""The Stack v1 on disk: its schema, the one reader of it, and the writer that brings other sources into it."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codenas.errors import CorpusError
from data_prep.document import Document, Entry
from data_prep.filters import alphanumeric_share, line_lengths

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
_LISTED = ("max_stars_repo_name", "max_stars_repo_path", "max_stars_repo_licenses", "size")
_STARS = "max_stars_count"  # subsets of The Stack may lack it
_READ = ("max_stars_repo_name", "max_stars_repo_path", "max_stars_repo_licenses", "lang", "content")


def parquet_files(source: Path) -> list[Path]:
    """The parquet files of a source, a file or a folder, sorted by their path below it.

    Raises:
        CorpusError: there is none, or one has not the columns or is broken.
    """
    if not source.exists():
        raise CorpusError(f"there is no source {source}; give a folder of parquet in The Stack v1 schema, or 'environment'")
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*.parquet") if path.is_file() and not path.is_symlink())
    if not files:
        raise CorpusError(f"the source {source} is empty: 0 parquet files; give a folder of parquet in The Stack v1 schema")
    for file in files:
        _check_columns(file)
    return files


def list_entries(files: Iterable[Path], root: Path) -> Iterator[Entry]:
    """Every row as an entry, read from the metadata columns alone. A row without name, path or size has them empty.

    Raises:
        CorpusError: a file is broken inside.
    """
    for file in files:
        name = file.relative_to(root).as_posix()
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                columns = _listed_columns(parquet, group, file)
                stars = columns.get(_STARS) or [None] * len(columns["size"])
                for row, (repository, path, licences, size) in enumerate(zip(*(columns[key] for key in _LISTED), strict=True)):
                    yield Entry(
                        sys.intern(repository or ""), path or "", _names(licences), size or 0, name, group, row, stars=_count(stars[row])
                    )


def read_documents(file: Path, row_group: int, rows: Sequence[int]) -> Iterator[Document | str]:
    """The documents of some rows of a row group, in their order; in place of one that cannot be read, the reason.

    Line ends become those of Unix: they say what editor a file was written in, and to a model they are other tokens.

    Raises:
        pyarrow.ArrowException or OSError: the row group itself is broken.
    """
    with pq.ParquetFile(file) as parquet:
        table = parquet.read_row_group(row_group, columns=list(_READ)).take(pa.array(rows, pa.int64()))
    # As binary: pyarrow does not check the UTF-8 of what it reads, and one bad row would fail the whole column.
    contents = table["content"].cast(pa.large_binary())
    others = table.drop_columns("content").to_pydict()
    for index, content in enumerate(contents):
        data = content.as_py()
        if data is None:
            yield "null content"
            continue
        try:
            repository, path, licences, language = (others[key][index] for key in _READ[:-1])
            yield Document(repository or "", path or "", _names(licences), language or "", data.decode().replace("\r\n", "\n"))
        except UnicodeDecodeError:
            yield "not UTF-8"


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


def _listed_columns(parquet: pq.ParquetFile, group: int, file: Path) -> dict[str, list[Any]]:
    try:
        columns: dict[str, list[Any]] = parquet.read_row_group(group, columns=[*_LISTED, _STARS]).to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(file, error) from None
    return columns


def _broken(file: Path, error: Exception) -> CorpusError:
    reason = str(error).partition("\n")[0]
    return CorpusError(f"{file} is not a whole parquet file ({reason}); fetch it again or take it out of the source")


def _check_columns(file: Path) -> None:
    try:
        found = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from None
    missing = [name for name in dict.fromkeys((*_LISTED, *_READ)) if name not in found.names]
    if missing:
        raise CorpusError(f"{file} lacks the columns {', '.join(missing)} of The Stack v1; it has {', '.join(found.names) or 'none'}")
    wrong = [name for name in dict.fromkeys((*_LISTED, *_READ)) if not _same_kind(found.field(name).type, STACK_V1.field(name).type)]
    if wrong:
        kinds = ", ".join(f"{name} is {found.field(name).type} and must be {STACK_V1.field(name).type}" for name in wrong)
        raise CorpusError(f"{file} has columns of another type than The Stack v1: {kinds}")


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return (pa.types.is_list(found) or pa.types.is_large_list(found)) and _same_kind(found.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return pa.types.is_integer(found)


def _names(licences: list[str | None] | None) -> tuple[str, ...]:
    return _once(tuple(sorted({name for name in licences or () if name})))


@lru_cache(maxsize=4096)
def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    """A few licences stand in millions of rows: each is in memory once."""
    return names


def _count(value: object) -> int:
    """A number of stars, 0 where there is none; some copies of The Stack hold it as a float."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 53 else 0
