"""Wheels and source distributions, read member by member: nothing is unpacked to disk, and memory use is bounded."""

import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

MEMBERS = 100_000
LARGEST_READ = 64_000_000  # bytes of one member or header
RATIO = 200  # unpacked over packed; source code rarely passes 10
_FLOOR = 10_000_000  # bytes that any archive may unpack to


class BadArchive(Exception):
    """An archive that is broken, of another format, or too large when unpacked. The message is the reason."""


@dataclass(slots=True)
class Member:
    """One file of an archive; `read` is valid until the iteration continues."""

    path: str
    size: int
    read: Callable[[], bytes]

    @property
    def is_safe(self) -> bool:
        """Whether its path stays inside the folder that the archive would be unpacked to."""
        return not (self.path.startswith("/") or "\\" in self.path or ":" in self.path or ".." in PurePosixPath(self.path).parts)


def members(archive: Path) -> Iterator[Member]:
    """The regular files of an archive, in its order; links and devices are skipped.

    Raises:
        BadArchive: when the first bad member is reached.
    """
    limit = max(_FLOOR, RATIO * archive.stat().st_size)
    with _bad_archive():
        if archive.name.endswith((".whl", ".zip")):
            yield from _bounded(_of_zip(archive), limit)
        elif archive.name.endswith((".tar.gz", ".tgz")):
            yield from _bounded(_of_tar(archive, limit), limit)
        else:
            raise BadArchive("unknown archive format")


def _bounded(found: Iterator[Member], limit: int) -> Iterator[Member]:
    held = 0
    for count, member in enumerate(found, start=1):
        held += member.size
        if count > MEMBERS:
            raise BadArchive("too many files in an archive")
        if held > limit:
            raise BadArchive("archive bomb")
        yield member


def _of_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size, partial(_read, partial(file.read, info), info.file_size))


def _of_tar(archive: Path, limit: int) -> Iterator[Member]:
    with gzip.open(archive) as stream, tarfile.open(fileobj=cast(Any, _Bounded(stream, limit)), mode="r:") as file:
        for info in file:
            if info.isfile():
                yield Member(info.name, info.size, partial(_read, partial(_extract, file, info), info.size))


def _extract(file: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    opened = file.extractfile(info)
    return opened.read() if opened else b""


def _read(read: Callable[[], bytes], size: int) -> bytes:
    if size > LARGEST_READ:
        raise BadArchive("archive bomb")
    with _bad_archive():
        return read()


@contextlib.contextmanager
def _bad_archive() -> Iterator[None]:
    """Turn what the libraries raise on invalid or modified archives into `BadArchive`."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise BadArchive("broken archive") from error


class _Bounded:
    """An unpacked stream that raises before more is read or skipped than allowed: the headers of a tar may lie about sizes."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._limit = stream, limit

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ or self._stream.tell() + size > self._limit:
            raise BadArchive("archive bomb")
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        if place > self._limit:
            raise BadArchive("archive bomb")
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()
