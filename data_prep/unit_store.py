"""What was found out about each row group, stored once: a rerun, or one over a source that has grown, examines only the rest."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from codenas.errors import CorpusError
from codenas.files import write_atomic
from data_prep.sources.blobs import blob_sizes, folder_of_blobs
from data_prep.sources.locations import Location, Remote, open_parquet, read_bytes, version_of
from data_prep.sources.parquet import is_damage, read_columns, readable_parquet, unreadable
from data_prep.sources.schemas import schema_of
from data_prep.units import VERDICTS, Unit

_DIGEST = b"row group"

Key = tuple[str, int]  # the file below the root of the source, and the row group in it


class RowGroup(BaseModel):
    """A row group of the source.

    `sha256` is that of its bytes in the file, whatever lies before and behind it; on another machine that of the version of the file,
    where it tells one. What rows name and do not hold, the texts of The Stack v2, counts by which of it is there.
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
    """The row groups of parquet files; the bytes of those on this machine are read once, unless they need not be `hashed`.

    Raises:
        CorpusError: a file is broken inside, or on another machine that cannot be reached.
    """
    return SourceList(row_groups=tuple(group for file in files for group in _row_groups(file, root, hashed)))


def same_row_groups(before: SourceList, files: Sequence[Location], root: Location) -> bool:
    """Whether the files hold the row groups that are listed; they are read only where all sizes are the same."""
    return list_row_groups(files, root, hashed=False).sizes == before.sizes and list_row_groups(files, root) == before


class UnitStore:
    """Verdicts on disk, one file for each row group, whole or absent. What is of another row group than the source has counts as absent.

    Args:
        folder: where the files are.
        digests: the SHA-256 of each row group that the source has now.
    """

    def __init__(self, folder: Path, digests: Mapping[Key, str]) -> None:
        self._folder, self._digests = folder, digests

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """The units, or the rows of them, that have no verdict yet."""
        rest = []
        for unit in units:
            held = self._read((unit.file, unit.row_group), ["row"])
            known = set() if held is None else set(held["row"].to_pylist())
            if rows := [row for row in unit.rows if row not in known]:
                rest.append(replace(unit, rows=rows, splits=[""] * len(rows)))
        return rest

    def keep(self, verdicts: pa.Table) -> None:
        """Store the verdicts of one unit beside those on other rows of its row group."""
        key = verdicts["file"][0].as_py(), verdicts["row_group"][0].as_py()
        held = self._read(key, VERDICTS.names)
        whole = verdicts if held is None else pa.concat_tables([held, verdicts]).sort_by("row")
        sink = pa.BufferOutputStream()
        pq.write_table(whole.replace_schema_metadata({_DIGEST: self._digests[key]}), sink, compression="zstd")
        write_atomic(self._path(key), sink.getvalue().to_pybytes())

    def verdicts(self, units: Iterable[Unit], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of the verdict on every row of `units`, in their order; one row group at a time is in memory."""
        for unit in units:
            held = self._read((unit.file, unit.row_group), ["row", *columns])
            if held is None:  # `missing` reads one column only, and another one is damaged
                path = self._path((unit.file, unit.row_group))
                raise CorpusError(f"{path} is damaged; remove it and run the same command again, everything else is kept")
            places = pc.index_in(pa.array(unit.rows, pa.int64()), held["row"].combine_chunks())
            yield from held.select(list(columns)).take(places).to_pylist()

    def prune(self) -> None:
        """Remove the verdicts on row groups that the source has no more."""
        wanted = {self._path(key) for key in self._digests}
        for path in self._folder.rglob("*.verdicts"):
            if path not in wanted:
                path.unlink()

    def _path(self, key: Key) -> Path:
        return self._folder / key[0] / f"{key[1]:05d}.verdicts"

    def _read(self, key: Key, columns: Sequence[str]) -> pa.Table | None:
        try:
            with pq.ParquetFile(self._path(key)) as file:
                schema = file.schema_arrow
                if (schema.metadata or {}).get(_DIGEST) != self._digests[key].encode() or not schema.equals(VERDICTS):
                    return None
                return file.read(list(columns)).replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            if is_damage(error) or isinstance(error, FileNotFoundError):
                return None
            raise unreadable(self._path(key), error) from None


def take_over(units: Path, folder: Path) -> None:
    """Copy the verdicts of a finished corpus to `folder`: all of them or none."""
    draft = folder.with_name(f".{folder.name}.copy")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(units, draft)
    draft.rename(folder)


def _row_groups(file: Location, root: Location, hashed: bool) -> Iterator[RowGroup]:
    name = file.relative_to(root).as_posix()  # type: ignore[arg-type]  # both are of one kind
    version = version_of(file) if hashed and isinstance(file, Remote) else ""
    with open_parquet(file) as parquet:
        for number in range(parquet.num_row_groups):
            held = parquet.metadata.row_group(number)
            start, stop = _extent(held)
            sha256 = _sha256(file, version, parquet, number) if hashed else ""
            yield RowGroup(file=name, row_group=number, rows=held.num_rows, bytes=stop - start, sha256=sha256)


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
    if schema.content is None:
        with readable_parquet(file):
            blobs = read_columns(parquet, number, [name for name in (schema.blob,) if name], file)
        digest.update(repr(blob_sizes(blobs, schema, folder_of_blobs(file))).encode())
    return digest.hexdigest()
