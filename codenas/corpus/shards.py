"""Token shards on disk: plain little-endian ids, memory-mapped for reading, whole or absent."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from codenas.corpus.manifest import CARD, CorpusManifest, Dtype, ShardInfo, card_of
from codenas.errors import CorpusError, ResourceError, first_error
from codenas.files import sha256_file, write_atomic
from codenas.log import LOGGER

SHARD_TOKENS = 100_000_000
VOCABULARIES = "vocabularies"  # the folder inside a corpus that has it in other vocabularies
_CHUNK_TOKENS = 1 << 20
_STAMPS = ".verified.json"
_RACY_NS = 2_000_000_000

Ids = npt.NDArray[np.int64]


class ShardWriter:
    """Write one split as `tokens/<split>-00000.bin`, ... of at most `shard_tokens` tokens each, inside the folder `corpus`.

    What an earlier writer left there counts as far as `resume` skips it; `finish` removes the rest.
    """

    def __init__(self, corpus: Path, split: str, dtype: Dtype, shard_tokens: int = SHARD_TOKENS) -> None:
        self._corpus, self._split, self._dtype, self._limit = corpus, split, np.dtype(dtype).newbyteorder("<"), shard_tokens
        self._done: list[ShardInfo] = []
        self._file: IO[bytes] | None = None
        self._hash, self._held = hashlib.sha256(), 0

    def append(self, tokens: npt.NDArray[np.integer]) -> str:
        """Add ids at the end of the split.

        Returns:
            The SHA-256 of the ids, for `has_written`.

        Raises:
            ValueError: an id does not fit the type of the shards.
        """
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() <= np.iinfo(self._dtype).max:
            raise ValueError(f"ids {tokens.min()}..{tokens.max()} do not fit {self._dtype}")
        data = tokens.astype(self._dtype).tobytes()
        for piece in self._pieces(data):
            file = self._file or self._open()
            file.write(piece)
        return hashlib.sha256(data).hexdigest()

    def flush(self) -> None:
        """Pass everything to the operating system: from then on it survives the end of this process."""
        if self._file is not None:
            self._file.flush()

    def has_written(self, tokens: int, sha256: str) -> bool:
        """Whether an earlier writer wrote `tokens` ids with this hash where the next `append` writes."""
        data = self._on_disk(tokens)
        return len(data) == tokens * self._dtype.itemsize and hashlib.sha256(data).hexdigest() == sha256

    def resume(self, tokens: int) -> None:
        """Skip the next `tokens` ids, which are on disk, as if they had been appended; before the first `append`."""
        for _ in self._pieces(self._on_disk(tokens)):
            pass

    def finish(self) -> tuple[ShardInfo, ...]:
        """Close the last shard and list them all."""
        if self._held:
            (self._file or self._open()).truncate()
            self._seal()
        rest = len(self._done)
        while self._path(rest).exists():
            self._path(rest).unlink()
            rest += 1
        return tuple(self._done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut `data` at the ends of shards, and count each piece after it was used."""
        width = self._dtype.itemsize
        while data:
            room = (self._limit - self._held) * width
            piece, data = data[:room], data[room:]
            yield piece
            self._hash.update(piece)
            self._held += len(piece) // width
            if self._held == self._limit:
                self._seal()

    def _on_disk(self, tokens: int) -> bytes:
        """The next `tokens` ids that are on disk, or fewer if there are fewer."""
        width, number, start, data = self._dtype.itemsize, len(self._done), self._held, b""
        while missing := tokens - len(data) // width:
            path, wanted = self._path(number), min(missing, self._limit - start)
            if not path.exists():
                break
            with path.open("rb") as file:
                file.seek(start * width)
                data += (found := file.read(wanted * width))
            if len(found) < wanted * width:
                break
            number, start = number + 1, 0
        return data

    def _path(self, number: int) -> Path:
        return self._corpus / self._name(number)

    def _name(self, number: int) -> str:
        return f"tokens/{self._split}-{number:05d}.bin"

    def _open(self) -> IO[bytes]:
        """The current shard, positioned after what `resume` skipped."""
        path = self._path(len(self._done))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if self._held else "wb")
        self._file.seek(self._held * self._dtype.itemsize)
        return self._file

    def _seal(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._done.append(ShardInfo(file=self._name(len(self._done)), tokens=self._held, sha256=self._hash.hexdigest()))
        self._hash, self._held = hashlib.sha256(), 0


class Tokens:
    """The tokens of one split, in order over all its shards, memory-mapped."""

    def __init__(self, shards: list[Path], dtype: Dtype, end_of_text: int, vocab_size: int) -> None:
        kind = np.dtype(dtype).newbyteorder("<")
        self._maps = [np.memmap(path, dtype=kind, mode="r") for path in shards]
        self._ends = np.cumsum([len(shard) for shard in self._maps], dtype=np.int64)
        self._shards, self._end_of_text, self._vocab_size = shards, end_of_text, vocab_size

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, start: int, stop: int) -> Ids:
        """Tokens start <= i < stop, shape [stop - start].

        Raises:
            IndexError: the range is not inside the split.
            CorpusError: an id is not in the vocabulary: the shard is damaged.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start}..{stop} are not inside the {len(self)} of this split")
        parts: list[npt.NDArray[np.integer]] = []
        shard = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            offset = int(self._ends[shard]) - len(self._maps[shard])
            parts.append(self._maps[shard][start - offset : stop - offset])
            if parts[-1].max() >= self._vocab_size:
                raise CorpusError(
                    f"{self._shards[shard]} holds the id {parts[-1].max()}, and the vocabulary ends at {self._vocab_size - 1}; "
                    f"{_way_out(self._shards[shard].parents[1])}"
                )
            start += len(parts[-1])
            shard += 1
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)

    def documents(self) -> Iterator[Ids]:
        """The tokens of each document, without its end-of-text id; a bounded chunk at a time is in memory."""
        pending: list[Ids] = []
        for start in range(0, len(self), _CHUNK_TOKENS):
            chunk = self.read(start, min(start + _CHUNK_TOKENS, len(self)))
            *complete, rest = np.split(chunk, np.flatnonzero(chunk == self._end_of_text) + 1)
            for piece in complete:
                yield np.concatenate([*pending, piece[:-1]])
                pending = []
            pending.append(rest)
        if sum(map(len, pending)):
            yield np.concatenate(pending)


@dataclass(slots=True)
class Corpus:
    """A finished corpus folder: corpus.json, tokenizer.json, vocab-char.json and tokens/."""

    path: Path
    manifest: CorpusManifest = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "Corpus":
        """Open a corpus. Checks the size of every file, but not its hash (`verify` does).

        Raises:
            CorpusError: it is missing, empty, unfinished or damaged.
        """
        path = Path(path)
        card = card_of(path)
        if card is None:
            raise CorpusError(f"there is no corpus in {path} (no {CARD}); run: codenas prepare --output {path}")
        try:
            manifest = CorpusManifest.model_validate_json(card.read_bytes())
        except ValidationError as error:
            raise CorpusError(f"{card} is broken ({first_error(error)}); {_way_out(path)}") from None
        corpus = cls(path, manifest)
        corpus._check_files()
        return corpus

    @property
    def tokenizer_path(self) -> Path:
        """The vocabulary of the shards."""
        return self.path / "tokenizer.json"

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """The names of the additional vocabularies that the text is tokenised in."""
        return tuple(sorted(folder.name for folder in (self.path / VOCABULARIES).glob("[!.]*") if card_of(folder)))

    def with_vocabulary(self, name: str | None) -> "Corpus":
        """The same documents in the same splits, in the vocabulary `name`; None is the default vocabulary.

        Raises:
            CorpusError: there is no such vocabulary, or its data are damaged or of other documents.
        """
        if name is None:
            return self
        if name not in self.vocabularies:
            has = ", ".join(("its own", *self.vocabularies))
            raise CorpusError(
                f"{self.path} has no vocabulary {name!r}, it has {has}; prepare it again with its settings and --vocabulary {name} "
                "(in a job file: vocabularies in [prepare]), what is there is kept"
            )
        corpus = Corpus.open(self.path / VOCABULARIES / name)
        if corpus._texts() != self._texts():
            raise CorpusError(f"{corpus.path} holds other documents than {self.path}; {_way_out(corpus.path)}")
        return corpus

    def split(self, name: str) -> Tokens:
        """The tokens of one split.

        Raises:
            CorpusError: the corpus has no such split, or it is empty.
        """
        info = self.manifest.splits.get(name)
        if info is None or not info.tokens:
            filled = ", ".join(split for split, held in self.manifest.splits.items() if held.tokens)
            raise CorpusError(f"{self.path} has no tokens in split {name!r}; it has {filled or 'none'}; {_way_out(self.path)}")
        files = [self.path / shard.file for shard in info.shards]
        return Tokens(files, self.manifest.dtype, self.manifest.end_of_text, self.manifest.vocab_size)

    def verify(self) -> None:
        """Check the hash of every shard. Called once at the start of a command, not in every trial.

        A verified shard is not read again until it changes: `.verified.json` stores its state.

        Raises:
            CorpusError: a shard was modified.
        """
        known, verified = _read_stamps(self.path / _STAMPS), dict[str, list[Any]]()
        unread = [shard for shard in self._shards() if known.get(shard.file) != self._state(shard)]
        size = sum((self.path / shard.file).stat().st_size for shard in unread)
        if size > 1e9:
            LOGGER.info(f"corpus: reading {size / 1e9:.1f} GB of tokens once to verify their hashes")
        for shard in self._shards():
            state = self._state(shard)
            if shard in unread and sha256_file(self.path / shard.file) != shard.sha256:
                raise CorpusError(f"{self.path / shard.file} was altered (its SHA-256 is not {shard.sha256[:12]}); {_way_out(self.path)}")
            # A file that was changed just now could change again within the resolution of its time stamp: like git, do not trust it yet.
            if time.time_ns() - state[-1] > _RACY_NS:
                verified[shard.file] = state
        if verified != known:
            with contextlib.suppress(OSError, ResourceError):  # a read-only corpus is verified each time
                write_atomic(self.path / _STAMPS, json.dumps(verified))

    def _state(self, shard: ShardInfo) -> list[Any]:
        """What changes with every write to a shard. Unlike the modification time, the change time (ctime) cannot be set back."""
        found = (self.path / shard.file).stat()
        return [shard.sha256, found.st_size, found.st_ctime_ns]

    def _texts(self) -> dict[str, tuple[int, int, int]]:
        """The amount of text in each split, independent of the vocabulary."""
        return {name: (info.bytes, info.documents, info.repositories) for name, info in self.manifest.splits.items()}

    def _shards(self) -> Iterator[ShardInfo]:
        for split in self.manifest.splits.values():
            yield from split.shards

    def _check_files(self) -> None:
        if not self.tokenizer_path.is_file():
            raise CorpusError(f"{self.tokenizer_path} is missing; {_way_out(self.path)}")
        width = np.dtype(self.manifest.dtype).itemsize
        for shard in self._shards():
            file = self.path / shard.file
            found = file.stat().st_size if file.is_file() else 0
            if found != shard.tokens * width:
                raise CorpusError(f"{file} has {found} bytes and must have {shard.tokens * width}; {_way_out(self.path)}")
        if not any(True for _ in self._shards()):
            raise CorpusError(f"the corpus {self.path} is empty: no split has a token; {_way_out(self.path)}")


def _read_stamps(path: Path) -> dict[str, Any]:
    """The states that `Corpus.verify` stored; empty if they cannot be read, and then every shard is verified again."""
    try:
        stamps = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _way_out(path: Path) -> str:
    if path.parent.name == VOCABULARIES:
        return f"remove {path} and prepare {path.parents[1]} again with its settings and --vocabulary {path.name}"
    return f"remove {path} and run: codenas prepare --output {path}"
