"""A run is a folder: each stage reads the results of earlier stages from it and adds its own."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codenas.errors import ResourceError, RunError, UserError
from codenas.files import folder_lock, write_atomic

if TYPE_CHECKING:
    from codenas.search.history import History
    from codenas.search.result import SearchResult

DEFAULT_RUN = Path("runs/demo")
_SETTINGS = {".lock", "corpus", "mirror"}  # files of a run that hold nothing that was computed


@dataclass(slots=True, frozen=True)
class Run:
    """The paths inside a run folder. If it is not `writable`, finished results can only be shown."""

    folder: Path
    writable: bool = True

    @property
    def corpus(self) -> Path:
        """The prepared corpus: the folder `corpus`, or the path in a file of this name.

        Raises:
            RunError: that file holds no path.
        """
        own = self.folder / "corpus"
        if not own.is_file():
            return own
        named = own.read_bytes().decode(errors="replace").strip()
        if not named.isprintable() or not named or "\ufffd" in named:
            raise RunError(f"{own} does not name the folder of a corpus; remove it and name one again: codenas search --corpus")
        return Path(named)

    def use_corpus(self, path: Path | None) -> Path:
        """Store `path` as the corpus of this run, if one is given; returns the run's corpus.

        Raises:
            RunError: the run has another corpus already.
        """
        from codenas.corpus import card_of

        own = self.folder / "corpus"
        if path is None or os.path.realpath(path) == os.path.realpath(self.corpus):
            return self.corpus
        if own.exists():
            raise RunError(f"{self.folder} works on the corpus {self.corpus}, not on {path}; choose another --run")
        if card_of(path) is not None:  # anything else is for `Corpus.open` to explain
            write_atomic(own, f"{path.absolute()}\n")
        return path

    @property
    def mirror(self) -> str | None:
        """The URL of the mirror of this run's search; None without one."""
        return self._mirror.read_text(errors="replace").strip() if self._mirror.is_file() else None

    def require_mirror(self, url: str) -> None:
        """Check that this run has no mirror other than `url`.

        Raises:
            RunError: it has another.
        """
        if self.mirror not in (None, url):
            raise RunError(f"{self.folder} is mirrored at {self.mirror}, not at {url}; choose another --run, or remove {self._mirror}")

    def use_mirror(self, url: str | None) -> None:
        """Record `url` as the mirror of this run, if one is given."""
        if url is not None and self.mirror is None:
            write_atomic(self._mirror, f"{url}\n")

    @property
    def _mirror(self) -> Path:
        return self.folder / "mirror"

    @property
    def search(self) -> Path:
        """History, checkpoints and result of the search."""
        return self.folder / "search"

    @property
    def model(self) -> Path:
        """The trained winner."""
        return self.folder / "model"

    @property
    def evaluation(self) -> Path:
        """The evaluation of the trained winner."""
        return self.folder / "evaluation.json"

    @property
    def evaluations(self) -> Path:
        """The result of each evaluation suite."""
        return self.folder / "evaluations"

    @property
    def picture(self) -> Path:
        """Plot of the Pareto front: bits per byte over size and latency."""
        return self.folder / "front.png"

    @property
    def report(self) -> Path:
        """The report of the search, as HTML."""
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """All results of the run, as JSON."""
        return self.folder / "summary.json"

    @property
    def lock(self) -> Path:
        """The lock file, with the id of the process that holds it."""
        return self.folder / ".lock"

    def require_started(self) -> None:
        """Check that a stage was started in the folder.

        Raises:
            RunError: none was.
        """
        self._require_folder()
        if not any(each.exists() for each in (self.lock, self.search, self.model)):
            raise RunError(f"{self.folder} is not a run: no stage was started in it; name the folder that was given to --run")

    def _require_folder(self) -> None:
        if not self.folder.is_dir():
            raise RunError(
                f"there is no run {self.folder}; name the folder that was given to --run, or make it: codenas search --run {self.folder}"
            )

    def require(self, path: Path, command: str) -> Path:
        """`path`, if it exists.

        Raises:
            RunError: it does not; `command` creates it.
        """
        self._require_folder()
        if not path.exists():
            raise RunError(f"{path} is missing; run `{command}` first")
        return path

    def finished_search(self) -> "tuple[SearchResult, History]":
        """The result and the history of the search of this run.

        Raises:
            RunError: it is not finished.
        """
        from codenas.search.result import SearchFolder

        self._require_folder()
        finished = SearchFolder(self.search).finished()
        if finished is None:
            raise RunError(f"{self.search} holds no finished search; run `codenas search` first")
        return finished

    def require_writable(self) -> None:
        """Check that results can be written, before a stage starts.

        Raises:
            ResourceError: the folder is read-only.
        """
        if not self.writable:
            raise ResourceError(f"{self.folder} is read-only, and this stage is not finished; make it writable or choose another --run")


@contextlib.contextmanager
def open_run(folder: Path, new: bool = True) -> Iterator[Run]:
    """Lock the run `folder` for this process. A missing folder is created only if it may be `new`.

    A read-only one is not locked, since it cannot be changed. One that this call has created is removed if the work is
    refused before anything of it is stored.

    Raises:
        RunError: another process holds it.
    """
    writable, existed = not folder.is_dir() or os.access(folder, os.W_OK), folder.exists()
    with folder_lock(folder) if writable and (new or existed) else contextlib.nullcontext():
        try:
            yield Run(folder, writable)
        except UserError:
            if not existed and folder.exists():
                _remove_unused(folder)
            raise


def _remove_unused(folder: Path) -> None:
    """Remove a run that holds no more than its lock and the names of its corpus and mirror."""
    held = list(folder.iterdir())
    if all(path.name in _SETTINGS and path.is_file() for path in held):
        for path in held:
            path.unlink()
        folder.rmdir()
