"""The texts of The Stack v2, whose parquet has metadata only: each is a file `content/BLOB_ID`, as downloaded from Software Heritage."""

import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from codenas.errors import CorpusError
from data_prep.sources.columns import count_of, values
from data_prep.sources.locations import Location
from data_prep.sources.schemas import Schema

FOLDER = "content"
_ABOVE = 5  # folders above the metadata in which the folder of texts is searched
_GZIP, _HEADER = b"\x1f\x8b", 1 << 16  # a small text may grow when compressed


def blobs(table: pa.Table, schema: Schema, folder: Path) -> Iterator[bytes | str]:
    """The text of each row as UTF-8; in place of one that cannot be read, the reason.

    Args:
        table: the rows, in the columns of `schema`.
        folder: of the texts.
    """
    columns = (values(table[name]) for name in (schema.blob, schema.encoding, schema.size))
    for blob, encoding, size in zip(*columns, strict=True):
        yield _blob(folder, blob or "", encoding or "UTF-8", count_of(size))


def blob_sizes(table: pa.Table, schema: Schema, folder: Path) -> list[int | None]:
    """The size of the file with the text of each row in bytes, None if it is missing. Its name is a hash, so size suffices to compare."""
    return [_size(folder / blob) if blob and blob.isalnum() else None for blob in values(table[schema.blob])]


@lru_cache
def folder_of_blobs(file: Location) -> Path:
    """The folder `content` beside a file of metadata, or in one of the folders above.

    Raises:
        CorpusError: there is none.
    """
    if isinstance(file, Path):
        for folder in [*file.absolute().parents][:_ABOVE]:
            if (folder / FOLDER).is_dir():
                return folder / FOLDER
    raise CorpusError(
        f"{file} is of The Stack v2, which has metadata without texts; store each text as {FOLDER}/BLOB_ID beside it, on this machine"
    )


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _blob(folder: Path, blob: str, encoding: str, size: int) -> bytes | str:
    if not blob.isalnum():  # not a hash: it could be a path to another folder
        return "no text"
    try:
        with (folder / blob).open("rb") as file:
            data = _plain(file.read(size + _HEADER), size)
        if len(data) > size:
            return "longer than stated"
        return data if encoding.upper() == "UTF-8" else data.decode(encoding).encode()
    except FileNotFoundError:
        return "no text"
    except (OSError, zlib.error):
        return "unreadable"
    except (UnicodeError, LookupError):
        return "not in the stated encoding"


def _plain(data: bytes, size: int) -> bytes:
    """The data, decompressed if it is gzip, but at most one byte more than `size`: a few kilobytes can become gigabytes."""
    return zlib.decompressobj(wbits=31).decompress(data, size + 1) if data.startswith(_GZIP) else data
