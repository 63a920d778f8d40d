"""Locations of parquet: on this machine, on the Hugging Face hub (`hf://`), in S3 (`s3://`)."""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from codenas.errors import ConfigError, CorpusError

_BLOCK = 1 << 20
_KNOWN = "a folder or file on this machine, hf://datasets/ORGANISATION/NAME/FOLDER or s3://BUCKET/FOLDER"


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote file or folder. Workers receive its URL and open connections of their own."""

    url: str

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return self.url.partition("://")[0]

    @property
    def path(self) -> str:
        """The URL without its scheme."""
        return self.url.partition("://")[2]

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """The folder that it is in."""
        return Remote(self.url.rpartition("/")[0])

    def absolute(self) -> "Remote":
        """Itself: a URL does not depend on the current folder."""
        return self

    def relative_to(self, root: "Remote") -> PurePosixPath:
        """The path below `root`."""
        return PurePosixPath(self.path).relative_to(root.path)


Location = Path | Remote


class _Store(Protocol):
    """One kind of remote store."""

    def files(self, path: str) -> list[str]:
        """The file at `path`, or all files below it. Raises FileNotFoundError."""

    def open(self, path: str) -> IO[bytes]:
        """A file to read from anywhere in it."""

    def version(self, path: str) -> str:
        """An identifier of the content of a file; empty if the store has none."""


class _HuggingFace:
    def __init__(self) -> None:
        try:
            from huggingface_hub import HfFileSystem
        except ImportError:
            raise ConfigError("hf:// needs the package huggingface_hub; install it: pip install huggingface_hub") from None
        self._hub = HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT"))

    def files(self, path: str) -> list[str]:
        found = self._hub.info(path)
        return [path] if found["type"] == "file" else list(self._hub.find(path))

    def open(self, path: str) -> IO[bytes]:
        opened: IO[bytes] = self._hub.open(path, "rb", cache_type="none")  # parquet is read in whole columns
        return opened

    def version(self, path: str) -> str:
        return self._hub.info(path).get("blob_id") or ""


class _S3:
    """Region, keys and endpoint are those of the AWS command line: AWS_DEFAULT_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, ..."""

    def __init__(self) -> None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")  # Arrow reads neither
        self._buckets = fs.S3FileSystem(endpoint_override=endpoint)

    def files(self, path: str) -> list[str]:
        (found,) = self._buckets.get_file_info([path])
        if found.type == fs.FileType.NotFound:
            raise FileNotFoundError(path)
        if found.is_file:
            return [path]
        return [one.path for one in self._buckets.get_file_info(fs.FileSelector(path, recursive=True)) if one.is_file]

    def open(self, path: str) -> IO[bytes]:
        opened: IO[bytes] = self._buckets.open_input_file(path)
        return opened

    def version(self, path: str) -> str:
        tags = self._buckets.open_input_file(path).metadata()
        return bytes(tags.get("ETag", b"")).decode()


_STORES: dict[str, Callable[[], _Store]] = {"hf": _HuggingFace, "s3": _S3}
_WHOLE = {"hf": re.compile(r"datasets/[^/]+/[^/]"), "s3": re.compile(".")}  # a shorter hf:// path is not a data set


def location_of(source: str) -> Location:
    """The location that a user names by `source`.

    Raises:
        CorpusError: its scheme is unknown.
    """
    scheme, separator, path = source.partition("://")
    if not separator:
        return Path(source)
    if scheme == "file":
        with contextlib.suppress(ValueError):  # a bracket without its other one
            return Path(unquote(urlsplit(source).path))
    if scheme not in _STORES or not _WHOLE[scheme].match(path.strip("/")):
        raise CorpusError(f"the source {source} is of an unknown kind; use {_KNOWN}")
    return Remote(f"{scheme}://{path.strip('/')}")


def parquet_at(place: Location) -> list[Location]:
    """The parquet files at a place, a file or a folder, sorted. Links are followed; a file that several lead to is listed once.

    Raises:
        CorpusError: there is no such place, it cannot be reached, or a link leads to no file.
    """
    if isinstance(place, Remote):
        with reachable(place):
            found = _store(place.scheme).files(place.path)
        return [Remote(f"{place.scheme}://{path}") for path in sorted(found) if path.endswith(".parquet")]
    if place.is_file():
        return [place]
    files: dict[tuple[int, int], Path] = {}
    for path in sorted(_parquet_below(place, _raise)):
        try:
            status = path.stat()
        except FileNotFoundError:  # the hub's cache of an interrupted download, for example
            raise CorpusError(f"{path} is a link to a file that is missing; fetch it again, or remove the link") from None
        if stat.S_ISREG(status.st_mode):
            files.setdefault((status.st_dev, status.st_ino), path)
    return [*files.values()]


def holds_parquet(folder: Path) -> bool:
    """Whether anything below a folder is named as parquet; what may not be read is passed over."""
    return any(True for _ in _parquet_below(folder))


def _parquet_below(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """The paths below a folder that are named as parquet. Each folder is visited once, none that `folder` itself is in."""
    visited = {_identity(above) for above in folder.resolve().parents}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=onerror):
        visited.add(_identity(Path(place)))
        # Real folders before links, so that a file has the same name wherever links to its folder are.
        folders.sort(key=lambda name: (Path(place, name).is_symlink(), name))
        folders[:] = [name for name in folders if _identity(Path(place, name)) not in visited]
        yield from (Path(place, name) for name in files if name.endswith(".parquet"))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _raise(error: OSError) -> None:
    raise error  # a folder that may not be read would be missing from the corpus without a word


def open_parquet(file: Location) -> pq.ParquetFile:
    """An open parquet file, of which single columns and row groups can be read.

    Raises:
        pyarrow.ArrowException or OSError: it is damaged.
        CorpusError: it is remote and cannot be reached; later reads may raise it too.
    """
    if isinstance(file, Path):
        return pq.ParquetFile(file)
    return pq.ParquetFile(_connected(file), metadata=_footer(file))


def version_of(file: Remote) -> str:
    """An identifier of the content of a file, without reading it; empty if the store has none.

    Raises:
        CorpusError: it cannot be reached.
    """
    with reachable(file):
        return _store(file.scheme).version(file.path)


def read_bytes(file: Location, start: int, stop: int) -> Iterator[bytes]:
    """Some bytes of a file, in blocks.

    Raises:
        CorpusError: it is remote and cannot be reached.
    """
    opened = file.open("rb") if isinstance(file, Path) else _watched(file)
    with contextlib.closing(opened):
        opened.seek(start)
        while start < stop and (block := opened.read(min(_BLOCK, stop - start))):
            yield block
            start += len(block)


def folder_of(file: Location) -> Location:
    """The folder that the paths in a source are relative to: the folder of a file, or the folder itself."""
    if isinstance(file, Path):
        return file.parent if file.is_file() else file
    return file.parent if file.name.endswith(".parquet") else file


@contextlib.contextmanager
def reachable(place: Remote) -> Iterator[None]:
    """Turn the errors of remote stores into a `CorpusError`; a broken network must not look like bad data."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:  # each library has its own exceptions
        raise _explained(place, error) from error


class _Watched:
    """A remote file whose errors are turned into a `CorpusError`."""

    closed = False

    def __init__(self, place: Remote, file: IO[bytes]) -> None:
        self._place, self._file = place, file

    def read(self, size: int = -1) -> bytes:
        with reachable(self._place):
            return self._file.read(size) if size >= 0 else self._file.read()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self.closed = True
        self._file.close()


def _connected(file: Remote) -> pa.PythonFile:
    return pa.PythonFile(_watched(file), "r")


def _watched(file: Remote) -> _Watched:
    with reachable(file):
        return _Watched(file, _store(file.scheme).open(file.path))


@lru_cache(maxsize=1024)  # every unit of a file needs it, and reading it over a network is slow
def _footer(file: Remote) -> pq.FileMetaData:
    return pq.read_metadata(_connected(file))


@lru_cache
def _store(scheme: str) -> _Store:
    return _STORES[scheme]()


def _explained(place: Remote, error: Exception) -> CorpusError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError) or "NotFound" in kind or "NO_SUCH" in str(error):
        return CorpusError(f"there is no {place}, or you have no access; check the name, and log in where it is private (README)")
    if isinstance(error, PermissionError) or "Gated" in kind or "ACCESS_DENIED" in str(error):
        return CorpusError(
            f"{place} cannot be read with your account; accept its terms on the hub and log in (HF_TOKEN), or set the keys of S3"
        )
    return CorpusError(f"{place} cannot be reached ({kind}); check the network and run again, or fetch it and give its folder")
