"""The noun of the prepare stage, with its text (`Document`) and without (`Entry`), and the type of the rules that select entries."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Document:
    """One source file with its text."""

    repository: str
    path: str
    licences: tuple[str, ...]
    language: str
    text: str

    @property
    def data(self) -> bytes:
        """The text as UTF-8."""
        return self.text.encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of the text as UTF-8."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(slots=True)
class Entry:
    """One document without its text: small enough to hold all of a source in memory.

    Attributes:
        size: bytes of the text.
        file, row_group, row: where the text is; `file` is relative to the root of the source.
        sha256: of the text; empty until it was read.
        split: train, valid or test; empty until it was assigned.
        stars: of the repository, 0 where unknown.
        language: of the text, as the source names it; empty until it was read.
        flag: why the source itself advises not to train on it; empty where it does not.
    """

    repository: str
    path: str
    licences: tuple[str, ...]
    size: int
    file: str
    row_group: int = 0
    row: int = 0
    sha256: str = ""
    split: str = ""
    stars: int = 0
    language: str = ""
    flag: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The sort key of documents."""
        return self.repository, self.path

    @property
    def is_printable(self) -> bool:
        """Whether its names consist of printable characters; bytes that are not UTF-8 are not printable either."""
        return (self.repository + self.path).isprintable()

    @property
    def place(self) -> "Place":
        """Where the text is."""
        return self.file, self.row_group, self.row


Place = tuple[str, int, int]  # where a text is: file, row group, row
Rule = Callable[[Entry], str | None]  # the reason to drop an entry, None to keep it
