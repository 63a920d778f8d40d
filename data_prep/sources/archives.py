"""Wheels and source distributions, read member by member: nothing is unpacked to disk, and no archive can fill the memory."""

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
LARGEST_READ = 64_000_000  # bytes of one member, or of what describes one
RATIO = 200  # unpacked over packed; source code rarely passes 10
_FLOOR = 10_000_000  # bytes that any archive may unpack to


class BadArchive(Exception):
    """An archive that is broken, of another kind, or too large unpacked. The message is the reason."""


@dataclass(slots=True)
class Member:
    """One file of an archive; `read` gives its bytes as long as the iteration has not gone on."""

    path: str
    size: int
    read: Callable[[], bytes]

    @property
    def is_safe(self) -> bool:
        """Whether its path stays in the folder that the archive would be unpacked in."""
        return not (self.path.startswith("/") or "\\" in self.path or ":" in self.path or ".." in PurePosixPath(self.path).parts)


def members(archive: Path) -> Iterator[Member]:
    """The plain files of an archive, in its order; links and devices are passed over.

    Raises:
        BadArchive: at the member where that shows.
    """
    limit = max(_FLOOR, RATIO * archive.stat().st_size)
    with _told():
        if archive.name.endswith((".whl", ".zip")):
            yield from _bounded(_of_zip(archive), limit)
        elif archive.name.endswith((".tar.gz", ".tgz")):
            yield from _bounded(_of_tar(archive, limit), limit)
        else:
            raise BadArchive("no archive that is known here")


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
    with _told():
        return read()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the libraries raise on bytes that are no archive, or that somebody has changed, into `BadArchive`."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise BadArchive("broken archive") from error


class _Bounded:
    """An unpacked stream that ends the work before it holds or passes over more than it may: headers of a tar lie about sizes."""

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
