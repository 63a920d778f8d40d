"""Atomic files and folders, append-only logs, folder locks, and disk errors in one line."""

import codecs
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from codenas.errors import ResourceError, RunError
from codenas.log import LOGGER

_NEW, _OLD, _LOCK = "new", "old", ".lock"  # in the folder that a folder is made in
_MAX_LINKS = 40  # as Linux follows
_RETRY = "run the same command again, finished work is kept"
_DISK_ERRORS = {  # reason and remedy
    errno.ENOSPC: ("no space is left", f"free some space and {_RETRY}"),
    errno.EDQUOT: ("the quota is used up", f"free some space and {_RETRY}"),
    errno.EFBIG: ("a file would be larger than it may be", f"raise the limit (ulimit -f) or choose another place, and {_RETRY}"),
    errno.EROFS: ("it is read-only", "choose another place, or make this one writable"),
}


@contextlib.contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
    """Raise errors of a full, limited or read-only disk as a `ResourceError` with `path` and the free space."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        reason, remedy = _DISK_ERRORS[error.errno]
        raise ResourceError(f"cannot write {path}: {reason} ({_free_megabytes(path)} MB free); {remedy}") from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` at once: a reader sees the old file or the new one, never half of either.

    Links are followed. A pipe, a character device such as /dev/null, or an open file such as /dev/stdout is written to: a
    rename would put a regular file in its place. The mode of a new file is what the umask leaves.

    Raises:
        ResourceError: the disk is full or read-only, or `path` is a block device or a socket.
        OSError: it is a folder, or may not be written there.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file to write to, which replaces `path` on success and is removed on an error. See `write_atomic`."""
    with readable_disk_errors(path):
        target = replaceable_path(path)
        if target is None:
            with _open_in_place(path) as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _draft(target) as (file, place):
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(place, target)


def require_writable_file(path: Path) -> None:
    """Check that a file can be written at `path`, before the work whose result it is; creates its folder, and logs that it did.

    Raises:
        ResourceError: the disk is full or read-only, or `path` is a block device or a socket.
        OSError: it is a folder, or may not be written there.
    """
    with readable_disk_errors(path):
        target = replaceable_path(path)
        if target is None:  # a pipe is not opened before there is something to write: its reader would see the end
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            LOGGER.info(f"new folder: {path.parent}")  # it may be a typing error
        with _draft(target):
            pass


def replaceable_path(path: Path) -> Path | None:
    """The path, free of links, whose regular file a rename may replace; None if `path` has to be written to where it is.

    Raises:
        ResourceError: `path` is a block device or a socket.
        OSError: it is a folder, or its links lead in a circle.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # mkdir will say which part is not a folder
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise ResourceError(f"{path} is a {'block device' if stat.S_ISBLK(mode) else 'socket'}; name a file or /dev/stdout")
        if not stat.S_ISREG(mode):
            return None
    return None if _open_file(path) is not None else Path(os.path.realpath(path))


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` and rename it to `final` on success; a folder at `final` is replaced, links are followed.

    The modes of its files are what the umask leaves, whatever the library that wrote them chose. What a process that is
    killed on the way leaves behind, `recover_folder` cleans up.

    Raises:
        ResourceError: the disk is full or read-only.
        OSError: `final` is something else than a folder.
    """
    with readable_disk_errors(final):
        final = Path(os.path.realpath(final))
        if final.exists() and not final.is_dir():  # a device too would be moved out of the way
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(final))
        final.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(final)
        staging = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
        try:
            with _locked_folder(staging):
                (staging / _NEW).mkdir()
                mode = (staging / _NEW).stat().st_mode & 0o666  # mkdir has asked the umask, and asking it again sets it for all threads
                yield staging / _NEW
                for path in sorted((staging / _NEW).rglob("*")):
                    if path.is_file():
                        os.chmod(path, mode)
                        _sync(path)
                if final.exists():
                    os.replace(final, staging / _OLD)
                os.replace(staging / _NEW, final)
                _sync(final.parent)
        finally:
            _clear(staging, final)


def recover_folder(final: Path) -> None:
    """Remove unfinished work of killed processes on `final`, before it is read or written; that of live ones is kept.

    A process that was killed between its two renames leaves no `final`: the old one is put back.
    """
    final = Path(os.path.realpath(final))
    if not final.parent.is_dir():
        return
    name = re.compile(rf"\.{re.escape(final.name)}\.[a-z0-9_]{{8}}")  # as mkdtemp draws it
    for staging in [path for path in final.parent.iterdir() if name.fullmatch(path.name) and (path / _LOCK).is_file()]:
        with contextlib.suppress(OSError), (staging / _LOCK).open("r+") as lock:  # another process clears it, or it is read-only
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(staging, final)


def read_user_text(path: Path) -> str:
    """The text of a file that a person wrote: without its byte order mark, with `\\n` as line ends.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def without_bom(data: bytes) -> bytes:
    """UTF-8 without its byte order mark. Editors on Windows write one; left in, it is part of the first name, key or word."""
    return data.removeprefix(codecs.BOM_UTF8)


def is_complete_json(line: bytes) -> bool:
    """Whether a line of JSON is complete: a kill can truncate the last one, and no prefix of an object is valid JSON."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def append_line(path: Path, line: str) -> None:
    """Append one line and wait until it is on the disk. A torn last line (a kill mid-write) is closed off first.

    Raises:
        ResourceError: the disk is full or read-only, or `path` is no regular file: what is appended must be there to be read again.
        OSError: it is a folder, or may not be written there.
    """
    with readable_disk_errors(path):
        if replaceable_path(path) is None:
            raise ResourceError(f"{path} is no regular file, and finished work is read again from it; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process; the lock is released when it ends.

    Raises:
        RunError: another process holds the lock; its pid is in the message.
    """
    with readable_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("ab+", buffering=0)  # unbuffered, or what a full disk refuses is written again on closing
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            raise RunError(f"{folder} is in use by process {holder}; wait for it, end it, or choose another --run") from None
        if not _is_at(folder / ".lock", file):
            raise RunError(f"{folder} was removed by another process; run the same command again")
        with readable_disk_errors(folder):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_free_space(folder: Path, megabytes: int, remedy: str = "free some space or choose another folder") -> None:
    """Raise `ResourceError` unless the disk of `folder` has `megabytes` free: before the work, not after ten minutes of it."""
    free = _free_megabytes(folder)
    if free < megabytes:
        raise ResourceError(f"{folder} has {free} MB free and this work needs {megabytes} MB; {remedy}")


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """An empty file beside `path`, locked by this process, and its path; it is removed at the end unless it was renamed.

    The path is always the same, so a later writer reuses what a killed process left there; a live one is waited for.
    """
    place = path.with_name(f".{path.name}.new")
    with _locked_file(place) as file:
        file.truncate(0)
        try:
            yield file, place
        finally:
            if _is_at(place, file):
                place.unlink()


@contextlib.contextmanager
def _locked_file(place: Path) -> Iterator[IO[bytes]]:
    """The file at `place`, created if it does not exist, and locked."""
    while True:
        with place.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(place, file):
                yield file
                return
            # The previous holder has renamed it meanwhile: this is a finished file now.


def _is_at(place: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked_folder(staging: Path) -> Iterator[None]:
    """Lock `staging`. The lock file appears already locked, and the lock is released when this process ends."""
    with (staging / f"{_LOCK}.new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (staging / f"{_LOCK}.new").rename(staging / _LOCK)
        yield


def _clear(staging: Path, final: Path) -> None:
    """Remove `staging`, after restoring the old folder if it was moved there and no new one has replaced it."""
    if (staging / _OLD).exists() and not final.exists():
        os.replace(staging / _OLD, final)
    for part in (_NEW, _OLD, ""):  # its lock last: without it, files of a killed process is never removed
        shutil.rmtree(staging / part, ignore_errors=True)


def _open_file(path: Path) -> Path | None:
    """/proc/PID/fd/N if the links of `path` lead there, as those of /dev/stdout do: a file that a process has open."""
    place = path.absolute()
    for _ in range(_MAX_LINKS):
        place = Path(os.path.realpath(place.parent), place.name)
        if not place.is_symlink():
            return None
        if place.is_relative_to("/proc"):  # these links only describe an open file, they are no paths to it
            return place
        place = place.parent / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _open_in_place(path: Path) -> IO[bytes]:
    """`path` opened for writing. A descriptor of this process is duplicated, so that both share one file offset."""
    opened = _open_file(path)
    if opened is not None and opened.parent == Path(f"/proc/{os.getpid()}/fd"):
        return os.fdopen(os.dup(int(opened.name)), "wb")
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb")  # without O_CREAT, which sticky folders refuse for another user's pipe


def _free_megabytes(path: Path) -> int:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free // 1_000_000


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
