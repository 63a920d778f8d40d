"""The results of processing each row group, stored once: a rerun, or one over a source that has grown, processes only the rest."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codenas.errors import CorpusError
from codenas.files import write_atomic
from data_prep.process import RESULTS
from data_prep.sources.parquet import is_damage, unreadable
from data_prep.sources.row_groups import Key
from data_prep.units import Unit

_DIGEST = b"row group"  # the key of its SHA-256 in the metadata
_SUFFIX = ".verdicts"  # their first name


class ResultStore:
    """Results on disk, one parquet file per row group, whole or absent. The results of a row group that has changed count as absent.

    Args:
        folder: where the files are.
        digests: the SHA-256 of each row group that the source has now.
    """

    def __init__(self, folder: Path, digests: Mapping[Key, str]) -> None:
        self._folder, self._digests = folder, digests

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """The units, or the rows of them, without a result."""
        rest = []
        for unit in units:
            held = self._read((unit.file, unit.row_group), ["row"])
            known = set() if held is None else set(held["row"].to_pylist())
            if rows := [row for row in unit.rows if row not in known]:
                rest.append(replace(unit, rows=rows, splits=[""] * len(rows)))
        return rest

    def add(self, results: pa.Table) -> None:
        """Store the results of one unit, beside those of other rows of its row group."""
        key = results["file"][0].as_py(), results["row_group"][0].as_py()
        held = self._read(key, RESULTS.names)
        whole = results if held is None else pa.concat_tables([held, results]).sort_by("row")
        sink = pa.BufferOutputStream()
        pq.write_table(whole.replace_schema_metadata({_DIGEST: self._digests[key]}), sink, compression="zstd")
        write_atomic(self._path(key), sink.getvalue().to_pybytes())

    def results(self, units: Iterable[Unit], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of the result of every row of `units`, in their order; one row group at a time is in memory.

        Raises:
            CorpusError: a file is damaged.
        """
        for unit in units:
            held = self._read((unit.file, unit.row_group), ["row", *columns])
            if held is None:  # `missing` reads one column only, and another one is damaged
                path = self._path((unit.file, unit.row_group))
                raise CorpusError(f"{path} is damaged; remove it and run the same command again, everything else is kept")
            places = pc.index_in(pa.array(unit.rows, pa.int64()), held["row"].combine_chunks())
            yield from held.select(list(columns)).take(places).to_pylist()

    def prune(self) -> None:
        """Remove the results of row groups that the source no longer has."""
        wanted = {self._path(key) for key in self._digests}
        for path in self._folder.rglob(f"*{_SUFFIX}"):
            if path not in wanted:
                path.unlink()

    def _path(self, key: Key) -> Path:
        return self._folder / key[0] / f"{key[1]:05d}{_SUFFIX}"

    def _read(self, key: Key, columns: Sequence[str]) -> pa.Table | None:
        try:
            with pq.ParquetFile(self._path(key)) as file:
                schema = file.schema_arrow
                if (schema.metadata or {}).get(_DIGEST) != self._digests[key].encode() or not schema.equals(RESULTS):
                    return None
                return file.read(list(columns)).replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            if is_damage(error) or isinstance(error, FileNotFoundError):
                return None
            raise unreadable(self._path(key), error) from None


def copy_results(results: Path, folder: Path) -> None:
    """Copy the results of a finished corpus to `folder`: all of them or none."""
    draft = folder.with_name(f".{folder.name}.copy")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(results, draft)
    draft.rename(folder)
