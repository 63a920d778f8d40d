"""The noun that flows through the stage, with its text (`Document`) and without (`Entry`)."""

import hashlib
from dataclasses import dataclass


@dataclass(slots=True)
class Document:
    """One source file, read."""

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
    """One document as decisions see it: small enough to hold them all at once.

    Attributes:
        size: bytes of the text.
        file, row_group, row: where the text is; `file` is relative to the root of the source.
        sha256: of the text; empty until it was read.
        split: train, valid or test; empty until it was decided.
        stars: of the repository, 0 where nobody counted them.
        language: of the text, as the source names it; empty until it was read.
        flag: why the source itself would not train on it; empty where it has nothing to say.
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
        """What documents are sorted by."""
        return self.repository, self.path

    @property
    def is_printable(self) -> bool:
        """Whether a table can hold its names; bytes of a name that are not UTF-8 are unprintable, too."""
        return (self.repository + self.path).isprintable()

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the text is."""
        return self.file, self.row_group, self.row
