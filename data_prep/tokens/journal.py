"""The shards of all splits, and a journal of the units in them: an interrupted run continues after the last unit on disk."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from codenas.corpus import Figures, ShardInfo, ShardWriter
from codenas.corpus.manifest import Dtype
from codenas.files import append_line, is_complete_json, write_atomic
from data_prep.rules.split import SPLITS
from data_prep.tokens.split_statistics import SplitCounter
from data_prep.units import Unit


class Piece(BaseModel):
    """The tokens of a unit in one split: their number, their SHA-256, and statistics of the documents."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: str
    tokens: int
    sha256: str
    figures: Figures


class JournalLine(BaseModel):
    """A unit whose tokens are in the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of a unit in one split, and statistics of the documents."""

    split: str
    ids: npt.NDArray[np.uint32]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Tokenised:
    """The shards of each split, and statistics of its documents."""

    shards: dict[str, tuple[ShardInfo, ...]]
    figures: dict[str, Figures]


class JournaledShards:
    """Writes shards unit by unit; what an earlier run wrote of the same units is kept as far as it is whole.

    Args:
        corpus: the folder of the shards.
        journal: a file of JSON lines, the first of which holds `of`.
        of: the digest of the units and their vocabulary.
    """

    def __init__(self, corpus: Path, journal: Path, dtype: Dtype, of: str) -> None:
        self._journal, self._of, self._counter = journal, f'{{"of": "{of}"}}', SplitCounter()
        self._writers = {split: ShardWriter(corpus, split, dtype) for split in SPLITS}

    def resume(self) -> int:
        """Skip the units that are on disk, before the first `add`; returns their number."""
        known = list(takewhile(self._resumes, self._lines()))
        write_atomic(self._journal, b"".join(line + b"\n" for line in (self._of.encode(), *known)))
        return len(known)

    def add(self, parts: Sequence[Part]) -> None:
        """Write the tokens of one unit to the shards of each split."""
        line = JournalLine(pieces=tuple(self._written(part) for part in parts))
        append_line(self._journal, line.model_dump_json())

    def finish(self) -> Tokenised:
        """Close the shards; the journal stays."""
        return Tokenised({split: writer.finish() for split, writer in self._writers.items()}, self._counter.figures())

    @property
    def documents(self) -> int:
        """The number of documents in the shards."""
        return sum(one.documents for figures in self._counter.figures().values() for one in figures.languages.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer)

    def _lines(self) -> list[bytes]:
        """The lines of an earlier run on the same units."""
        with contextlib.suppress(FileNotFoundError):
            first, *others = self._journal.read_bytes().splitlines()
            return list(takewhile(is_complete_json, others)) if first == self._of.encode() else []
        return []

    def _resumes(self, line: bytes) -> bool:
        """Whether all tokens of a unit are on disk; if so, it counts as added."""
        pieces = JournalLine.model_validate_json(line).pieces
        if not all(self._writers[piece.split].has_written(piece.tokens, piece.sha256) for piece in pieces):
            return False
        for piece in pieces:
            self._writers[piece.split].resume(piece.tokens)
            self._counter.merge(piece.split, piece.figures)
        return True

    def _written(self, part: Part) -> Piece:
        writer = self._writers[part.split]
        sha256 = writer.append(part.ids)
        writer.flush()
        self._counter.merge(part.split, part.figures)
        return Piece(split=part.split, tokens=len(part.ids), sha256=sha256, figures=part.figures)


def parts_of(units: Sequence[Unit], tables: Iterator[pa.Table]) -> Iterator[list[Part]]:
    """The parts of each of `units`, from the tables that `encode` returns; a large unit may take several tables."""
    parts = (part for table in tables for part in _parts(table))
    for unit in units:
        yield list(islice(parts, len(set(unit.splits))))


def _parts(table: pa.Table) -> Iterator[Part]:
    for cell, ids, *columns in zip(*(table[name] for name in ("split", "tokens", "languages", "sizes", "lengths")), strict=True):
        split, counter = cell.as_py(), SplitCounter()
        counter.add(split, *(column.as_py() for column in columns))
        yield Part(split, ids.values.to_numpy(), counter.figures()[split])
