"""Words and hashed n-grams of a text, by which near-duplicates and benchmark text are recognised."""

import zlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio, as in splitmix64 (Steele, Lea, Flood 2014)
# ASCII that is neither a letter, a digit nor "_" becomes a space. Beyond ASCII every byte counts as part of a word: else two
# tables of translations, equal but for their Chinese, would look the same.
_WORD_BYTES = bytes(value if value >= 128 or chr(value).isalnum() or chr(value) == "_" else 32 for value in range(256))


def words(text: str) -> list[bytes]:
    """The words of `text` as UTF-8, lower-cased, split on non-word characters."""
    return text.lower().encode("utf-8", "surrogatepass").translate(_WORD_BYTES).split()


def word_hashes(held: list[bytes]) -> Hashes:
    """A 32-bit hash per word; the same in every process, unlike `hash`."""
    return np.fromiter(map(zlib.crc32, held), np.uint64, len(held))


def gram_hashes(hashes: Hashes, length: int) -> Hashes:
    """A 64-bit hash of every n-gram of `length` words, in their order; none if there are fewer words."""
    runs = len(hashes) - length + 1
    if runs < 1:
        return np.empty(0, np.uint64)
    held = hashes[:runs]
    for offset in range(1, length):
        held = _mixed(held) + hashes[offset : offset + runs]
    return _mixed(held)


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64: a bijection that spreads every bit over all others."""
    values = values * _ODD
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Hashes = values ^ (values >> np.uint64(31))
    return result
