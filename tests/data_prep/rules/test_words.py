"""Words and runs of words as numbers, against the same in plain Python."""

import re
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.rules.words import gram_hashes, word_hashes, words

MASK = (1 << 64) - 1


def mixed(value: int) -> int:
    """The finaliser of splitmix64, on a whole number."""
    value = value * 0x9E3779B97F4A7C15 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


@given(text=st.text())
def test_words_are_what_stands_between_non_word_characters(text: str) -> None:
    expected = [word for word in re.split(r"[^0-9a-z_\u0080-\U0010ffff]+", text.lower()) if word]
    assert [word.decode("utf-8", "surrogatepass") for word in words(text)] == expected


@given(text=st.text(alphabet="ab cé_9.\n"), length=st.integers(1, 7))
def test_a_run_has_one_number(text: str, length: int) -> None:
    held = words(text)
    expected = []
    for start in range(len(held) - length + 1):
        value = 0
        for word in held[start : start + length]:
            value = mixed(value) + zlib.crc32(word) & MASK
        expected.append(mixed(value))
    assert gram_hashes(word_hashes(held), length).tolist() == expected


def test_the_order_of_words_counts_and_a_lone_surrogate_is_a_word() -> None:
    first, second = (gram_hashes(word_hashes(words(text)), 2) for text in ("a b a", "b a b"))
    assert set(first.tolist()) == set(second.tolist()) and not np.array_equal(first, second)
    assert words("x = '\ud800'") == [b"x", b"\xed\xa0\x80"]
