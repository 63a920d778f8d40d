"""Downloads a run from a cluster: files are transferred in blocks through Ray's object store, and their digests are verified.

The functions that read files run on a node of the cluster, which has CodeNAS and the run's shared folder.
"""

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import ray
from ray.exceptions import RayError, RayTaskError

from codenas.checkpoint import TRAINING
from codenas.errors import ResourceError, RunError, UserError
from codenas.files import atomic_folder, require_free_space, sha256_file
from codenas.log import Progress

BLOCK_BYTES = 8_000_000
_MAX_IN_FLIGHT = 4  # blocks: enough to hide the latency, few enough to fit in memory
_ONLY_TO_RESUME = ("last", "corpus")  # folders needed only to resume; the corpus can be larger than all other files
_CHANGED = "changed during the transfer: the run is still active; fetch it again"


@dataclass(slots=True, frozen=True)
class Entry:
    """A file of a run; `name` is its path in the run's folder."""

    name: str
    size: int
    sha256: str


@dataclass(slots=True, frozen=True)
class Fetched:
    """What was downloaded."""

    files: int
    size_bytes: int


def fetch(run: PurePosixPath, output: Path, everything: bool) -> Fetched:
    """Download `run`, a folder on the cluster that this process has joined, to `output`, which is complete or absent afterwards.

    Args:
        everything: include what is needed only to resume: corpus and training states.

    Raises:
        RunError: there is no run, `output` exists, or a file changed during the transfer.
        ResourceError: the local disk is too small, or the connection to the cluster was lost.
    """
    if output.exists():
        raise RunError(f"{output} already exists; choose another --output, or remove it")
    try:
        entries: list[Entry] = ray.get(ray.remote(num_cpus=0)(list_files).remote(str(run), everything))
        size = sum(entry.size for entry in entries)
        require_free_space(output.parent, size // 1_000_000 + 10)
        with atomic_folder(output) as folder:
            _receive(run, entries, folder, Progress("fetch", size // 1_000, unit="kB"))
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise RunError(f"on the cluster: {error.cause}") from error
        if isinstance(error.cause, FileNotFoundError):
            raise RunError(f"{error.cause.filename} {_CHANGED}") from error
        raise ResourceError(
            f"the cluster cannot read {run} ({type(error.cause).__name__}: {error.cause}); has it another version of CodeNAS?"
        ) from error
    except (RayError, ConnectionError) as error:
        raise ResourceError(
            f"the connection to the cluster was lost ({type(error).__name__}); fetch again, nothing incomplete was stored"
        ) from error
    return Fetched(len(entries), size)


def list_files(run: str, everything: bool) -> list[Entry]:
    """The files of a run, listed on a node of the cluster. Hidden files (locks, unfinished work) and links are excluded.

    Raises:
        RunError: there is no run.
    """
    folder = Path(run)
    if not (folder / "search" / "job.json").is_file():
        raise RunError(f"{run} contains no search; give the path of --run")
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [_entry(folder, name) for name in names if _wanted(name, everything)]


def read_block(run: str, name: str, start: int, size: int) -> bytes:
    """A block of a file of a run, read on a node of the cluster."""
    with Path(run, name).open("rb") as file:
        file.seek(start)
        return file.read(size)


def _wanted(name: Path, everything: bool) -> bool:
    if any(part.startswith(".") for part in name.parts):
        return False
    return everything or not (name.name == TRAINING or (len(name.parts) > 1 and name.parts[0] in _ONLY_TO_RESUME))


def _entry(folder: Path, name: Path) -> Entry:
    return Entry(name.as_posix(), (folder / name).stat().st_size, sha256_file(folder / name))


def _receive(run: PurePosixPath, entries: Iterable[Entry], folder: Path, progress: Progress) -> None:
    done = 0
    blocks = _blocks(run, entries)
    for entry in entries:
        place = _inside(folder, entry.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with place.open("wb") as file:
            for block in itertools.islice(blocks, len(_starts(entry))):
                file.write(block)
                digest.update(block)
                done += len(block)
                progress.update(done // 1_000)
        if digest.hexdigest() != entry.sha256:
            raise RunError(f"{run}/{entry.name} {_CHANGED}")


def _starts(entry: Entry) -> range:
    return range(0, entry.size, BLOCK_BYTES)


def _blocks(run: PurePosixPath, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The blocks of all files in order, some of them prefetched."""
    read = ray.remote(num_cpus=0)(read_block)
    pending: deque[ray.ObjectRef[bytes]] = deque()
    for entry in entries:
        for start in _starts(entry):
            pending.append(read.remote(str(run), entry.name, start, min(BLOCK_BYTES, entry.size - start)))
            if len(pending) >= _MAX_IN_FLIGHT:
                yield ray.get(pending.popleft())
    while pending:
        yield ray.get(pending.popleft())


def _inside(folder: Path, name: str) -> Path:
    """The local path of a file that the cluster named; never outside the folder of the run."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"the cluster names a file outside the run ({name!r}); do not trust it")
    return folder / path
