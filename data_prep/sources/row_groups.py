"""The row groups of a source with their hashes: by them a rerun knows what of the source has changed."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data_prep.sources.blobs import blob_sizes, folder_of_blobs
from data_prep.sources.locations import Location, Remote, open_parquet, read_bytes, version_of
from data_prep.sources.parquet import read_columns, readable_parquet
from data_prep.sources.schemas import schema_of

Key = tuple[str, int]  # the file below the root of the source, and the row group in it


class RowGroup(BaseModel):
    """A row group of the source.

    `sha256` is the hash of its bytes alone, wherever they are in the file; for a remote file, that of the version of the file, if
    the store has versions. For The Stack v2, whose texts are separate files, the sizes of those count too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    row_group: int
    rows: int
    bytes: int
    sha256: str


class SourceList(BaseModel):
    """`source.json`: the row groups that a corpus was made of, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    row_groups: tuple[RowGroup, ...]

    @property
    def digests(self) -> dict[Key, str]:
        """The SHA-256 of each row group."""
        return {(group.file, group.row_group): group.sha256 for group in self.row_groups}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the row groups of each file."""
        sizes: dict[str, int] = defaultdict(int)
        for group in self.row_groups:
            sizes[group.file] += group.bytes
        return dict(sizes)


def list_row_groups(files: Iterable[Location], root: Location, hashed: bool = True) -> SourceList:
    """The row groups of parquet files; local files are read once to hash them, unless `hashed` is False.

    Raises:
        CorpusError: a file is damaged, or on another machine that cannot be reached.
    """
    return SourceList(row_groups=tuple(group for file in files for group in _row_groups(file, root, hashed)))


def same_row_groups(before: SourceList, files: Sequence[Location], root: Location) -> bool:
    """Whether the files hold the row groups that are listed; they are read only if all sizes are the same."""
    return list_row_groups(files, root, hashed=False).sizes == before.sizes and list_row_groups(files, root) == before


def _row_groups(file: Location, root: Location, hashed: bool) -> Iterator[RowGroup]:
    name = file.relative_to(root).as_posix()  # type: ignore[arg-type]  # both are of one kind
    version = version_of(file) if hashed and isinstance(file, Remote) else ""
    with open_parquet(file) as parquet:
        for number in range(parquet.num_row_groups):
            metadata = parquet.metadata.row_group(number)
            start, stop = _extent(metadata)
            sha256 = _sha256(file, version, parquet, number) if hashed else ""
            yield RowGroup(file=name, row_group=number, rows=metadata.num_rows, bytes=stop - start, sha256=sha256)


def _extent(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Where the bytes of a row group begin and end in its file."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return min(starts), max(ends)


def _sha256(file: Location, version: str, parquet: pq.ParquetFile, number: int) -> str:
    digest = hashlib.sha256()
    if version:
        digest.update(f"{version} {number}".encode())
    else:
        for block in read_bytes(file, *_extent(parquet.metadata.row_group(number))):
            digest.update(block)
    schema = schema_of(parquet.schema_arrow, str(file))
    if schema.blob is not None:
        with readable_parquet(file):
            blobs = read_columns(parquet, number, [schema.blob], file)
        digest.update(repr(blob_sizes(blobs, schema, folder_of_blobs(file))).encode())
    return digest.hexdigest()
