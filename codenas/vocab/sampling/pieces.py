"""Pieces: substrings of words in byte letters, the candidates for a sampled vocabulary (Minixhofer et al. 2024, algorithm 1)."""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import pre_tokenizers

from codenas.vocab.bpe import byte_letters

STRIDE = 4  # characters from the start of one piece in a word to the start of the next
LONGEST = 15  # letters

_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
# The same pattern where letters and digits are those of ASCII: six times as fast, and most code is ASCII.
_ASCII = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
_LETTERS = byte_letters()
_SPACE, _NEWLINE, _TAB = (_LETTERS[ord(space)] for space in " \n\t")
_NO_BLANKS = str.maketrans("", "", _SPACE + _NEWLINE + _TAB)

# In every sampled vocabulary: the bytes, and a blank before up to 15 equal blanks.
BYTES = tuple(_LETTERS[value] for value in range(256))
_BLANK = (_SPACE, _NEWLINE, _TAB)
BLANKS = tuple(first + rest * count for rest in _BLANK for count in range(1, LONGEST + 1) for first in _BLANK)
FORCED = (*BYTES, *BLANKS)

_ID = np.dtype(np.int32)
Ids = npt.NDArray[np.int64]


def words(text: str) -> list[str]:
    """The words of `text` by GPT-2's pattern; concatenated they are the text."""
    if text.isascii():
        return _ASCII.findall(text)
    return [text[start:stop] for _, (start, stop) in _BYTE_LEVEL.pre_tokenize_str(text)]


def letters_of(data: bytes) -> str:
    """`data` in byte letters."""
    return data.decode("latin-1").translate(_LETTERS)


def pieces_of(word: str) -> list[str]:
    """From every fourth character on all substrings of 1 to 15 letters, with repetitions."""
    letters = letters_of(word.encode())
    starts = _starts(word)[::STRIDE]
    return [letters[start:stop] for start in starts for stop in range(start + 1, min(start + LONGEST, len(letters)) + 1)]


def _starts(word: str) -> Sequence[int]:
    """Where the characters of `word` begin in its bytes."""
    return range(len(word)) if word.isascii() else [0, *itertools.accumulate(len(character.encode()) for character in word[:-1])]


def is_drawable(piece: str) -> bool:
    """Whether a piece can be drawn: no single letter, and at most one blank. The forced pieces cover the others."""
    return len(piece) > 1 and len(piece) - len(piece.translate(_NO_BLANKS)) < 2


def fingerprint(piece: str) -> int:
    """A 64-bit hash of a piece, the same in every process."""
    return int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Table:
    """The pieces of some texts.

    Attributes:
        ids, scores: a piece may stand several times, its score is the sum; shape [entries].
        words, sizes: the id of each distinct word as one piece (-1: none is that long), and its bytes in all texts; shape [words].
    """

    ids: Ids
    scores: Ids
    words: Ids
    sizes: Ids


class Pieces:
    """Numbers for pieces: the strings of a word are handled when it comes up first, all else is arithmetic on arrays.

    The forced pieces have the first ids, in their order.
    """

    def __init__(self) -> None:
        self._ids = {piece: number for number, piece in enumerate(FORCED)}
        self._words: dict[str, tuple[bytes, int, int]] = {}  # ids as int32, the id of the whole, bytes
        self._described = 0
        self._weights, self._lengths = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._fingerprints, self._drawable = np.zeros(0, np.uint64), np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def names(self) -> list[str]:
        """The pieces in the order of their ids."""
        return list(self._ids)

    @property
    def lengths(self) -> Ids:
        """Letters of each piece, which are bytes of a text; shape [len(self)]."""
        return self._lengths[: len(self)]

    @property
    def fingerprints(self) -> npt.NDArray[np.uint64]:
        """`fingerprint` of each piece; shape [len(self)]."""
        return self._fingerprints[: len(self)]

    @property
    def drawable(self) -> npt.NDArray[np.bool_]:
        """`is_drawable` of each piece; shape [len(self)]."""
        return self._drawable[: len(self)]

    def table(self, texts: Iterable[str]) -> Table:
        """Score the pieces of `texts`: their bytes in UTF-8, letters being characters, for every occurrence."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(words(" " + text))
        known = [self._words.get(word) or self._learn(word) for word in counts]
        self._describe()
        parts, wholes, sizes = zip(*known, strict=True) if known else ((), (), ())
        times = np.fromiter(counts.values(), np.int64, len(counts))
        entries = np.fromiter(map(len, parts), np.int64, len(parts)) // _ID.itemsize
        ids = np.frombuffer(b"".join(parts), _ID).astype(np.int64)
        return Table(
            ids=ids,
            scores=np.repeat(times, entries) * self._weights[ids],
            words=np.array(wholes, np.int64),
            sizes=times * np.array(sizes, np.int64),
        )

    def _learn(self, word: str) -> tuple[bytes, int, int]:
        ids = self._ids
        numbers = np.array([ids.setdefault(piece, len(ids)) for piece in pieces_of(word)], _ID)
        letters = letters_of(word.encode())
        self._words[word] = numbers.tobytes(), ids.get(letters, -1), len(letters)
        return self._words[word]

    def _describe(self) -> None:
        """Bring the arrays up to the pieces that are new."""
        fresh = list(itertools.islice(reversed(self._ids), len(self._ids) - self._described))[::-1]  # not a walk over all
        start, self._described = self._described, len(self._ids)
        self._weights = _put(self._weights, start, [len(piece.encode()) for piece in fresh])
        self._lengths = _put(self._lengths, start, [len(piece) for piece in fresh])
        self._fingerprints = _put(self._fingerprints, start, [fingerprint(piece) for piece in fresh])
        self._drawable = _put(self._drawable, start, [is_drawable(piece) for piece in fresh])
        self._drawable[: len(FORCED)] = False


def grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """`array` with room for `size` items at least, zeros behind; in steps so large that growing costs little."""
    if size <= len(array):
        return array
    return np.concatenate([array, np.zeros(max(size, 2 * len(array)) - len(array), array.dtype)])


def _put(array: npt.NDArray[Any], start: int, values: list[Any]) -> npt.NDArray[Any]:
    array = grown(array, start + len(values))
    array[start : start + len(values)] = values
    return array
