"""The shards of all splits, and a journal of the units in them: an interrupted call goes on behind the last unit that is on the disk."""

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
from codenas.files import append_line, is_whole, write_atomic
from data_prep.rules.split import SPLITS
from data_prep.tokens.census import Census
from data_prep.units import Unit


class Piece(BaseModel):
    """What a unit gave to a split: so many ids with this SHA-256, of documents like these."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: str
    tokens: int
    sha256: str
    figures: Figures


class JournalLine(BaseModel):
    """A unit whose ids are in the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The ids that a unit gives to a split, and what its documents are like."""

    split: str
    ids: npt.NDArray[np.uint32]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Tokenised:
    """The shards of each split, and what its documents are like."""

    shards: dict[str, tuple[ShardInfo, ...]]
    figures: dict[str, Figures]


class JournaledShards:
    """Writes shards unit by unit; what an earlier call wrote of the same units is taken up, as far as it is whole.

    Args:
        corpus: the folder of the shards.
        journal: a file of lines, the first of which is `of`.
        of: what tells these units in this vocabulary from any others.
    """

    def __init__(self, corpus: Path, journal: Path, dtype: Dtype, of: str) -> None:
        self._journal, self._of, self._census = journal, f'{{"of": "{of}"}}', Census()
        self._writers = {split: ShardWriter(corpus, split, dtype) for split in SPLITS}

    def take_up(self) -> int:
        """Go over the units that are on the disk, before the first `add`; returns how many there are."""
        known = list(takewhile(self._taken_up, self._lines()))
        write_atomic(self._journal, b"".join(line + b"\n" for line in (self._of.encode(), *known)))
        return len(known)

    def add(self, parts: Sequence[Part]) -> None:
        """Write what one unit gives to each split."""
        line = JournalLine(pieces=tuple(self._written(part) for part in parts))
        append_line(self._journal, line.model_dump_json())

    def finish(self) -> Tokenised:
        """Close the shards; the journal stays."""
        return Tokenised({split: writer.finish() for split, writer in self._writers.items()}, self._census.figures())

    @property
    def documents(self) -> int:
        """How many documents are in the shards."""
        return sum(one.documents for figures in self._census.figures().values() for one in figures.languages.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer)

    def _lines(self) -> list[bytes]:
        """The lines of an earlier call on the same units."""
        with contextlib.suppress(FileNotFoundError):
            first, *others = self._journal.read_bytes().splitlines()
            return list(takewhile(is_whole, others)) if first == self._of.encode() else []
        return []

    def _taken_up(self, line: bytes) -> bool:
        """Whether all of a unit is on the disk; then it counts as added."""
        pieces = JournalLine.model_validate_json(line).pieces
        if not all(self._writers[piece.split].is_left(piece.tokens, piece.sha256) for piece in pieces):
            return False
        for piece in pieces:
            self._writers[piece.split].take_up(piece.tokens)
            self._census.join(piece.split, piece.figures)
        return True

    def _written(self, part: Part) -> Piece:
        writer = self._writers[part.split]
        sha256 = writer.append(part.ids)
        writer.flush()
        self._census.join(part.split, part.figures)
        return Piece(split=part.split, tokens=len(part.ids), sha256=sha256, figures=part.figures)


def parts_of(units: Sequence[Unit], tables: Iterator[pa.Table]) -> Iterator[list[Part]]:
    """The parts of each of `units`, from the tables of their rows; of a large unit the rows may come in several tables."""
    parts = (part for table in tables for part in _parts(table))
    for unit in units:
        yield list(islice(parts, len(set(unit.splits))))


def _parts(table: pa.Table) -> Iterator[Part]:
    for cell, ids, *columns in zip(*(table[name] for name in ("split", "tokens", "languages", "sizes", "lengths")), strict=True):
        split, census = cell.as_py(), Census()
        census.add(split, *(column.as_py() for column in columns))
        yield Part(split, ids.values.to_numpy(), census.figures()[split])
