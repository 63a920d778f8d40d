"""What each stage kept, and what was dropped for which reason. Rules decide, `Statistics` counts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.corpus import Redacted, Tally
from codenas.errors import CorpusError, first_error
from codenas.files import write_atomic
from data_prep.document import Entry, Rule

NOTHING = Tally(documents=0, bytes=0)


class Match(BaseModel):
    """A dropped document, the benchmark passage that it contains, and the text that matched."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    repository: str
    path: str
    found: str
    matched: str


class BadRow(BaseModel):
    """A row of the source that could not be read or processed, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    row_group: int
    row: int
    reason: str


class StatisticsFile(BaseModel):
    """The form in which `Statistics` are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    source: str
    stages: dict[str, Tally]
    drops: dict[str, Tally]
    benchmarks: tuple[Match, ...] = ()
    redacted: dict[str, Redacted] = {}


class Statistics:
    """Documents kept by each stage, in order, and documents dropped, by reason.

    Attributes:
        benchmarks: the documents that were dropped because they contain benchmark text.
        redacted: values replaced in the documents kept, by kind; "all" is their sum.
        quarantine: rows that could not be read or processed; stored in a file of their own.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.stages: dict[str, Tally] = {}
        self.drops: dict[str, Tally] = {}
        self.benchmarks: list[Match] = []
        self.redacted: dict[str, Redacted] = {}
        self.quarantine: list[BadRow] = []

    def record(self, stage: str, entries: Iterable[Entry]) -> list[Entry]:
        """Count `entries` as what `stage` kept, and return them."""
        kept = list(entries)
        self.stages[stage] = Tally(documents=len(kept), bytes=sum(entry.size for entry in kept))
        return kept

    def drop(self, reason: str, size: int) -> None:
        """Count one dropped document of `size` bytes."""
        self.drops[reason] = self.drops.get(reason, NOTHING) + Tally(documents=1, bytes=size)

    def filter(self, entries: Iterable[Entry], rule: Rule) -> list[Entry]:
        """The entries that `rule`, applied in their order, keeps; the others are counted as dropped."""
        kept: list[Entry] = []
        for entry in entries:
            reason = rule(entry)
            if reason is None:
                kept.append(entry)
            else:
                self.drop(reason, entry.size)
        return kept

    def to_file(self) -> StatisticsFile:
        """The form in which they are stored."""
        drops = dict(sorted(self.drops.items()))
        return StatisticsFile(
            source=self.source, stages=self.stages, drops=drops, benchmarks=tuple(self.benchmarks), redacted=self.redacted
        )

    @classmethod
    def from_file(cls, file: StatisticsFile) -> "Statistics":
        """Stored statistics, to be continued."""
        statistics = cls(file.source)
        statistics.stages, statistics.drops = dict(file.stages), dict(file.drops)
        statistics.benchmarks, statistics.redacted = list(file.benchmarks), dict(file.redacted)
        return statistics


def save_quarantine(path: Path, rows: Iterable[BadRow]) -> None:
    """Write the bad rows as JSON lines, in the order of the source: their places and reasons, never their content."""
    ordered = sorted(rows, key=lambda row: (row.file, row.row_group, row.row))
    write_atomic(path, "".join(f"{row.model_dump_json()}\n" for row in ordered))


def damaged(path: Path, error: Exception) -> CorpusError:
    """The error that says in one line that a file of a corpus cannot be read."""
    reason = first_error(error) if isinstance(error, ValidationError) else str(error).partition("\n")[0]
    return CorpusError(f"{path} is damaged ({reason}); restore it, or remove the folder {path.parent} and run codenas prepare again")
