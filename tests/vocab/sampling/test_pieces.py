"""Words, pieces and their scores, against the plain way to find them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from codenas.vocab.sampling.pieces import BLANKS, BYTES, FORCED, Pieces, fingerprint, is_drawable, letters_of, pieces_of, words

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
ASCII = st.text(st.characters(max_codepoint=127))
CODE = "def f(x):\n\treturn  x+1 # it's 'l' 12ab\r\n\x1c\x0b\x1f é中文 naïve🎉\n\n\n  end"


@given(ASCII)
def test_ascii_is_cut_as_the_library_cuts(text: str) -> None:
    assert [letters_of(word.encode()) for word in words(text)] == [word for word, _ in BYTE_LEVEL.pre_tokenize_str(text)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_cut_as_the_library_cuts_and_nothing_is_lost(text: str) -> None:
    assert [letters_of(word.encode()) for word in words(text)] == [word for word, _ in BYTE_LEVEL.pre_tokenize_str(text)]
    assert "".join(words(text)) == text


def test_pieces_start_at_every_fourth_character_and_have_up_to_15_letters() -> None:
    assert pieces_of(" abcd") == ["Ġ", "Ġa", "Ġab", "Ġabc", "Ġabcd", "d"]
    assert [len(piece) for piece in pieces_of("x" * 18)] == [*range(1, 16), *range(1, 15), *range(1, 11), *range(1, 7), 1, 2]
    assert pieces_of("éabcd") == ["Ã", "Ã©", "Ã©a", "Ã©ab", "Ã©abc", "Ã©abcd", "d"]  # the fifth character is at the sixth byte


def test_the_forced_pieces_are_256_bytes_and_135_runs_of_blanks() -> None:
    assert (len(BYTES), len(BLANKS), len(set(FORCED))) == (256, 135, 391)
    assert {"ĠĠ", "ĊĠĠĠĠ", "ĉĊ", "Ġ" * 16} <= set(BLANKS)
    assert not any(is_drawable(piece) for piece in FORCED)


@pytest.mark.parametrize(("piece", "drawable"), [("ab", True), ("Ġa", True), ("Ċ(", True), ("a", False), ("Ġ", False), ("ĠaĊ", False)])
def test_single_letters_and_two_blanks_are_not_drawn(piece: str, drawable: bool) -> None:
    assert is_drawable(piece) is drawable


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert fingerprint("Ġself") == 0xDC9B57F7A42CBD33


def test_scores_and_words_of_texts_are_what_counting_gives() -> None:
    pieces = Pieces()
    pieces.table(["something else before"])
    table = pieces.table([CODE, "x = x\n" * 3, ""])
    scores, sizes = Counter[str](), Counter[str]()
    for text in (CODE, "x = x\n" * 3, ""):
        for word in words(" " + text):
            sizes[letters_of(word.encode())] += len(word.encode())
            for piece in pieces_of(word):
                scores[piece] += len(piece.encode())
    summed = np.bincount(table.ids, table.scores, len(pieces))
    assert {name: score for name, score in zip(pieces.names, summed, strict=True) if score} == scores
    named = [*pieces.names, None]  # the id of a word that is no piece is -1
    assert all(named[whole] in (None, word) for whole, word in zip(table.words, sizes, strict=True))
    assert [named[whole] is None for whole in table.words] == [word not in pieces.names for word in sizes]
    assert table.sizes.tolist() == list(sizes.values())


def test_the_forced_pieces_have_the_first_ids_and_arrays_follow_the_names() -> None:
    pieces = Pieces()
    for text in (CODE, "another text", CODE * 2):
        pieces.table([text])
        assert tuple(pieces.names[: len(FORCED)]) == FORCED
        assert pieces.lengths.tolist() == [len(name) for name in pieces.names]
        assert pieces.fingerprints.tolist() == [fingerprint(name) for name in pieces.names]
        assert pieces.drawable.tolist() == [is_drawable(name) for name in pieces.names]
