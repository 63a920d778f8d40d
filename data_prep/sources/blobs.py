"""The texts of The Stack v2, which is names and numbers alone: each a file `content/BLOB_ID`, as Software Heritage gives them away."""

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
_ABOVE = 5  # folders above the file of metadata in which the folder of texts is looked for
_GZIP, _HEADER = b"\x1f\x8b", 1 << 16  # compressed, a small text may be longer


def blobs(table: pa.Table, schema: Schema, folder: Path) -> Iterator[bytes | str]:
    """The text of each row as UTF-8; the reason in place of one that cannot be had.

    Args:
        table: the rows, in the columns of `schema`.
        folder: of the texts.
    """
    columns = (values(table[name]) for name in (schema.blob, schema.encoding, schema.size))
    for blob, encoding, size in zip(*columns, strict=True):
        yield _blob(folder, blob or "", encoding or "UTF-8", count_of(size))


def blob_sizes(table: pa.Table, schema: Schema, folder: Path) -> list[int | None]:
    """Bytes of the file of each row's text, None where there is no such file. Its name is a hash: little else can change of it."""
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
    raise CorpusError(f"{file} is of The Stack v2, which names texts and has none; put each as {FOLDER}/BLOB_ID beside it, on this machine")


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _blob(folder: Path, blob: str, encoding: str, size: int) -> bytes | str:
    if not blob.isalnum():  # a name that could lead elsewhere is no hash
        return "no text"
    try:
        with (folder / blob).open("rb") as file:
            data = _plain(file.read(size + _HEADER), size)
        if len(data) > size:
            return "longer than told"
        return data if encoding.upper() == "UTF-8" else data.decode(encoding).encode()
    except FileNotFoundError:
        return "no text"
    except (OSError, zlib.error):
        return "unreadable"
    except (UnicodeError, LookupError):
        return "not in the encoding told"


def _plain(data: bytes, size: int) -> bytes:
    """What was compressed with gzip, and no more than a byte above the `size` told: a few kilobytes can become gigabytes."""
    return zlib.decompressobj(wbits=31).decompress(data, size + 1) if data.startswith(_GZIP) else data
