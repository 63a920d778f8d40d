"""The default source: the standard library and the installed packages of this Python, each package a repository."""

import os
import platform
import re
import stat
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from codenas.errors import CorpusError
from data_prep.config import ENVIRONMENT
from data_prep.document import Document, Entry
from data_prep.rules.licences import licences_of
from data_prep.sources.languages import PYTHON

STANDARD_LIBRARY = ("python/cpython", ("PSF-2.0",))
_OURSELVES = "codenas"
_TESTS = {"test", "tests", "testing", "idle_test"}
# Copies of other projects, with their own licences.
VENDORED = {"_vendor", "vendor", "_vendored", "vendored", "third_party", "thirdparty", "thirdparty_files", "extern", "externals"}
_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
# Written when Python was built or installed: they contain paths of this machine.
_BUILT_HERE = re.compile(r"_sysconfigdata_.*\.py|config-\d.*")


class Environment:
    """Finds and reads Python files. The result depends on the installed packages, not on where they are installed.

    Args:
        library: the folder of the standard library.
        packages: the site-packages folders.
    """

    name = ENVIRONMENT

    def __init__(self, library: Path | None = None, packages: list[Path] | None = None) -> None:
        paths = sysconfig.get_paths()
        self._library = library or Path(paths["stdlib"])
        self._packages = packages or [Path(folder) for folder in dict.fromkeys((paths["purelib"], paths["platlib"]))]
        self._roots: dict[str, Path] = {}
        self.description = f"Python {platform.python_version()}: standard library and installed packages"

    def find(self) -> list[Entry]:
        """Every Python file, unread, sorted by repository and path; `file` is relative to its root."""
        installed = (entry for name, package in self._distributions().items() for entry in self._package(f"pypi/{name}", package))
        found = [*self._standard_library(), *installed]
        if not found:
            raise CorpusError(f"no Python source in {self._library} or {self._packages[0]}; give a folder of parquet with --source")
        return sorted(found, key=lambda entry: entry.key)

    def objection(self, entry: Entry) -> str | None:
        """The reason to leave out a file."""
        return foreign(entry)

    def read(self, entry: Entry) -> Document | str:
        """The document of an entry that `find` returned; the reason if it cannot be read."""
        try:
            text = (self._roots[entry.repository] / entry.file).read_bytes().decode()
        except OSError:
            return "unreadable"
        except UnicodeDecodeError:
            return "not UTF-8"
        return Document(entry.repository, entry.path, entry.licences, PYTHON, text)

    def _standard_library(self) -> Iterator[Entry]:
        for folder, folders, files in os.walk(self._library):
            folders[:] = [name for name in folders if name not in _NOT_THE_LIBRARY and not _BUILT_HERE.fullmatch(name)]
            for name in files:
                path = (Path(folder) / name).relative_to(self._library)
                if name.endswith(".py") and not _BUILT_HERE.fullmatch(name):
                    yield from self._entry(*STANDARD_LIBRARY, self._library, path.as_posix())

    def _distributions(self) -> dict[str, Distribution]:
        """By normalised name; of two with one name the first on the path, which is the one that gets imported."""
        named = {_name(package): package for package in reversed([*distributions(path=[str(path) for path in self._packages])])}
        return {name: package for name, package in sorted(named.items()) if name != _OURSELVES}

    def _package(self, repository: str, package: Distribution) -> Iterator[Entry]:
        licences = licences_of(package.metadata)
        root = Path(str(package.locate_file("")))
        for file in package.files or []:
            # ".." leads to bin/: installers write the path of their interpreter into scripts.
            if file.suffix == ".py" and ".." not in file.parts:
                yield from self._entry(repository, licences, root, file.as_posix())

    def _entry(self, repository: str, licences: tuple[str, ...], root: Path, path: str) -> Iterator[Entry]:
        try:
            status = os.lstat(root / path)
        except FileNotFoundError:  # listed and later removed
            return
        if stat.S_ISREG(status.st_mode):
            self._roots[repository] = root
            yield Entry(repository, path, licences, status.st_size, file=path, language=PYTHON)


def foreign(entry: Entry) -> str | None:
    """The reason to leave out a file of a package: tests are repetitive, and vendored copies have other licences than the package."""
    if not entry.is_printable:
        return "unprintable name"
    folders = set(PurePosixPath(entry.path).parent.parts)
    if folders & _TESTS:
        return "tests"
    return "vendored copy" if folders & VENDORED else None


def _name(package: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
