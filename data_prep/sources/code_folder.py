"""A folder of the user's own code: git checkouts, or files outside any checkout."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from codenas.errors import CorpusError
from data_prep.document import Document, Entry
from data_prep.rules.licences import licences_in
from data_prep.rules.split import SPLITS
from data_prep.sources.environment import VENDORED
from data_prep.sources.languages import language_of

# Folders of third-party or generated code.
FOREIGN_FOLDERS = VENDORED | {
    ".bundle", ".eggs", ".gradle", ".nox", ".tox", ".venv", ".yarn", "Carthage", "Pods", "__pycache__", "bower_components",
    "jspm_packages", "node_modules", "site-packages",
}  # fmt: skip
_ENVIRONMENT_FILES = ("pyvenv.cfg", "conda-meta")  # one is in every environment of Python, whatever its name
_LICENCE_FILES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE")  # and what begins so
_LARGEST_LICENCE = 200_000  # bytes
# The settings of a repository can name programs that git would run.
_IGNORED, _NOT_IGNORED = 0, 1  # exit codes of git check-ignore; others are errors
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class CodeFolder:
    """Finds and reads the code in a folder: in a checkout the files that git tracks or would track, elsewhere every file.

    Each checkout in it is a repository. If there are too few for a split, each folder of files counts as one.
    Links are not followed: they could lead out of the folder, or in a circle.

    Args:
        folder: a checkout, a folder of checkouts, or code without git.
        largest: bytes; larger files are not read.

    Raises:
        CorpusError: there is no such folder.
    """

    name = "code"

    def __init__(self, folder: Path, largest: int) -> None:
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {folder}; give one of your own code, of parquet, or 'environment'")
        self._folder = Path(os.path.realpath(folder))
        self._largest = largest
        self.description = f"code: {self._folder.name}"
        self._licences = cache(self._licences_at)
        self._is_environment = cache(self._has_environment_file)

    def find(self) -> list[Entry]:
        """Every file with the extension of a known language, unread, sorted by repository and path; `file` is relative to the folder."""
        checkouts = {root: list(self._files(root)) for root in self._roots()}
        named = [root for root, files in checkouts.items() if files]
        entries = (self._entry(root, path, whole=len(named) >= len(SPLITS)) for root in named for path in checkouts[root])
        return sorted((entry for entry in entries if entry), key=lambda entry: entry.key)

    def objection(self, entry: Entry) -> str | None:
        """The reason to leave out a file: third-party code, too large, or a name that is not printable."""
        if not entry.is_printable:
            return "unprintable name"
        folder = PurePosixPath(entry.file).parent
        if set(folder.parts) & FOREIGN_FOLDERS or any(self._is_environment(str(above)) for above in (folder, *folder.parents)):
            return "vendored copy"
        return "too large" if entry.size > self._largest else None

    def read(self, entry: Entry) -> Document | str:
        """The document of an entry that `find` returned; the reason if it cannot be read."""
        try:
            with (self._folder / entry.file).open("rb") as file:
                data = file.read(self._largest + 1)  # it may have grown
        except OSError:
            return "unreadable"
        if len(data) > self._largest:
            return "too large"
        if b"\0" in data:
            return "binary"
        try:
            text = data.decode().replace("\r\n", "\n")
        except UnicodeDecodeError:
            return "not UTF-8"
        return Document(entry.repository, entry.path, entry.licences, entry.language, text)

    def _roots(self) -> list[str]:
        """The folder itself and the checkouts in it, as relative paths."""
        found = [""]
        for place, folders, files in os.walk(self._folder):
            if place != str(self._folder) and ".git" in (*folders, *files):
                found.append(Path(place).relative_to(self._folder).as_posix())
            foreign = place != str(self._folder) and not {*folders, *files}.isdisjoint(_ENVIRONMENT_FILES)
            folders[:] = [] if foreign else sorted(name for name in folders if name != ".git" and name not in FOREIGN_FOLDERS)
        return found

    def _files(self, root: str) -> Iterator[str]:
        """The paths of files below a root, without those of checkouts inside it."""
        place = self._folder / root
        if not _is_checkout(place):
            yield from _walked(place)
            return
        done = _git(place, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        if done.returncode:
            raise _git_failed(place, done)
        yield from sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name and not name.endswith(b"/")})

    def _entry(self, root: str, path: str, whole: bool) -> Entry | None:
        language, place = language_of(path), self._folder / root / path
        if not language or os.path.realpath(place.parent) != str(place.parent):  # a link on the way
            return None
        try:
            status = os.lstat(place)
        except OSError:  # tracked and deleted
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        file = place.relative_to(self._folder).as_posix()
        repository = "/".join(filter(None, (self._folder.name, root if whole else str(PurePosixPath(file).parent)))).removesuffix("/.")
        local = path if whole else PurePosixPath(path).name
        return Entry(sys.intern(repository), local, self._licences(place.parent), status.st_size, file, language=language)

    def _has_environment_file(self, folder: str) -> bool:
        """Whether a folder below this one is an environment of Python; this one itself was asked for by name."""
        return folder != "." and any((self._folder / folder / name).exists() for name in _ENVIRONMENT_FILES)

    def _licences_at(self, folder: Path) -> tuple[str, ...]:
        """The licences of a folder: those of its own licence files, or else of the nearest folder above that has some."""
        if found := licences_in(_licence_texts(folder)):
            return found
        return () if folder == self._folder or (folder / ".git").exists() else self._licences(folder.parent)


def _is_checkout(folder: Path) -> bool:
    """Whether the folder belongs to a checkout; one that a repository around it ignores does not.

    Raises:
        CorpusError: there is a repository around it, and git does not say whether it ignores the folder.
    """
    if (folder / ".git").exists():
        return True
    if not any((above / ".git").exists() for above in folder.parents):
        return False
    done = _git(folder, "check-ignore", "-q", ".")
    if done.returncode not in (_IGNORED, _NOT_IGNORED):
        raise _git_failed(folder, done)  # private files may be in it: better none than those
    return done.returncode == _NOT_IGNORED


def _git(folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run([*_GIT, *command], cwd=folder, capture_output=True, env=_environment())
    except FileNotFoundError:
        raise CorpusError(f"{folder} is in a git checkout and git is not installed; install it, or copy the files elsewhere") from None


@cache
def _environment() -> dict[str, str]:
    """The environment without the variables that name a repository, as a git hook sets them: git would list the files of that one."""
    named = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, check=True, text=True).stdout.split()
    return {name: value for name, value in os.environ.items() if name not in named} | {"LC_ALL": "C"}


def _git_failed(folder: Path, done: subprocess.CompletedProcess[bytes]) -> CorpusError:
    """What git says, and its own remedy where it has one: it reads no checkout of another owner unless `safe.directory` allows it."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    remedy = next((line for line in lines if line.startswith("git config")), "")
    way_out = f"if you trust it, run: {remedy}" if remedy else "repair the checkout, or copy the files to a folder outside it"
    return CorpusError(f"git cannot list {folder}: {lines[0] if lines else f'exit code {done.returncode}'}; {way_out}")


def _walked(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        if place != str(folder) and ".git" in (*folders, *files):
            folders[:] = []
            continue
        folders[:] = sorted(name for name in folders if name != ".git")
        yield from (Path(place, name).relative_to(folder).as_posix() for name in sorted(files))


def _licence_texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name.upper().startswith(_LICENCE_FILES) and path.is_file() and not path.is_symlink() and not language_of(path.name):
            with path.open("rb") as file:
                yield file.read(_LARGEST_LICENCE).decode(errors="replace")
