"""A list of pinned packages: the same source code on every machine, independent of what is installed."""

import email.parser
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data_prep.document import Document, Entry
from data_prep.rules.licences import licences_of
from data_prep.sources.archives import BadArchive, Member, members
from data_prep.sources.environment import foreign
from data_prep.sources.languages import language_of
from data_prep.sources.package_index import Pin, default_cache, fetch, read_pins


class Packages:
    """Finds and reads the source code in wheels and source distributions; each package is a repository.

    Args:
        pins: the file with the list.
        largest: bytes; larger files are not read.
        cache: the folder where packages are kept between runs.

    Raises:
        ConfigError: the list is missing, empty or wrong.
    """

    name = "packages"

    def __init__(self, pins: Path, largest: int, cache: Path | None = None) -> None:
        self._pins, self._largest, self._cache = read_pins(pins), largest, cache or default_cache()
        self._archives: dict[str, Path] = {}
        self._held: tuple[str, dict[str, bytes]] = ("", {})
        self.description = f"{len(self._pins)} packages of {pins.name}"

    def find(self) -> list[Entry]:
        """Every file with the extension of a known language, unread, sorted by repository and path; `file` is its package.

        A package whose archive is broken, or a decompression bomb, is a single entry with a flag.

        Raises:
            ResourceError: a package cannot be fetched.
        """
        archives = fetch(self._pins, self._cache)
        entries = [entry for pin, archive in archives.items() for entry in self._listed(pin, archive)]
        return sorted(entries, key=lambda entry: entry.key)

    def objection(self, entry: Entry) -> str | None:
        """The reason to leave out a file: as for installed packages, or too large."""
        return entry.flag or foreign(entry) or ("too large" if entry.size > self._largest else None)

    def read(self, entry: Entry) -> Document | str:
        """The document of an entry that `find` returned; the reason if it cannot be read."""
        if self._held[0] != entry.repository:  # entries come sorted, and an archive is read from its beginning to its end
            self._held = (entry.repository, dict(self._contents(self._archives[entry.repository])))
        data = self._held[1].get(entry.path)
        if data is None:
            return "broken archive"
        try:
            return Document(entry.repository, entry.path, entry.licences, entry.language, data.decode().replace("\r\n", "\n"))
        except UnicodeDecodeError:
            return "not UTF-8"

    def _listed(self, pin: Pin, archive: Path) -> list[Entry]:
        repository = f"pypi/{pin.name}"
        self._archives[repository] = archive
        licences: tuple[str, ...] = ()
        found: dict[str, Entry] = {}  # of two members with the same name the last counts, as in unpacking
        try:
            for member in members(archive):
                path = _local(member, archive)
                if _is_metadata(path):
                    licences = _licences(member)
                elif language := language_of(path):
                    flag = "" if member.is_safe else "unsafe path"
                    found[path] = Entry(repository, path, (), member.size, pin.name, language=language, flag=flag)
        except BadArchive as error:
            return [Entry(repository, pin.version, (), archive.stat().st_size, pin.name, flag=str(error))]
        for entry in found.values():
            entry.licences = licences
        return list(found.values())

    def _contents(self, archive: Path) -> Iterator[tuple[str, bytes]]:
        try:
            for member in members(archive):
                if member.size <= self._largest and member.is_safe and language_of(member.path):
                    yield _local(member, archive), member.read()
        except BadArchive:
            return  # keep what was read before


def _local(member: Member, archive: Path) -> str:
    """The path in the package, without the top folder of a source distribution."""
    return member.path if archive.name.endswith(".whl") else member.path.partition("/")[2]


def _is_metadata(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts == ("PKG-INFO",) or (len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "METADATA")


def _licences(member: Member) -> tuple[str, ...]:
    return licences_of(email.parser.HeaderParser().parsestr(member.read().decode(errors="replace")))
