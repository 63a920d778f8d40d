"""Documents with their middle moved: no byte is invented, no window grows, no document depends on another."""

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.vocab import END_OF_TEXT, Bpe, Char, Infilling, Vocabulary, infill_prompt
from codenas.vocab.base import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX
from codenas.vocab.infilling import Ids
from tests.vocab.texts import code_like

SAMPLE = code_like(seed=1)
VOCABULARIES: dict[str, Vocabulary] = {"char": Char.train(SAMPLE, limit=2), "bpe": Bpe.train(SAMPLE, 400), "bytes": Bpe.train([], 262)}
KINDS = pytest.mark.parametrize("kind", VOCABULARIES)
ORDERS = pytest.mark.parametrize("spm", [False, True], ids=["psm", "spm"])
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=60)
TEXT = "def café(größe):\n    return größe + 1  # 数 😀 ∑\n" * 4

PINNED = (
    "<fim_prefix><fim_suffix>rstuvw<fim_middle>abcdefghijklmnopq<|endoftext|>"
    "<fim_prefix><fim_suffix>nopqrstuvw<fim_middle>abcdefghijklm<|endoftext|>"
)

texts = st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode), st.sampled_from([text.encode() for text in SAMPLE]))


def moving(vocabulary: Vocabulary, spm: bool = False, rate: float = 1.0) -> Infilling:
    return Infilling(vocabulary, rate, float(spm))


def packed(vocabulary: Vocabulary, documents: Sequence[bytes]) -> Ids:
    """Documents one behind the other, each with its end."""
    end = vocabulary.specials[END_OF_TEXT]
    return np.array([token for document in documents for token in (*vocabulary.encode(document), end)], dtype=np.int64)


def split(vocabulary: Vocabulary, window: Ids) -> list[Ids]:
    """The documents of a window, each with its end."""
    ends = np.flatnonzero(window == vocabulary.specials[END_OF_TEXT]) + 1
    return [part for part in np.split(window, ends) if len(part)]


def pieces(vocabulary: Vocabulary, document: Ids) -> tuple[bytes, bytes, bytes] | None:
    """What stands behind each sentinel of a document; None where it has none."""
    names = (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)
    places = [np.flatnonzero(document == vocabulary.specials[name]).tolist() for name in names]
    if not any(places):
        return None
    assert [len(found) for found in places] == [1, 1, 1], "a sentinel without the others"
    (first,), (second,), (third,) = places
    assert first == 0 < second < third and document[-1] == vocabulary.specials[END_OF_TEXT]
    borders = itertools.pairwise((first, second, third, len(document)))
    before, after, gap = (vocabulary.decode(document[start + 1 : stop].tolist()) for start, stop in borders)
    return before, after, gap


def found_in(kind: str, text: bytes, spm: bool = False, ended: bool = True) -> list[tuple[bytes, bytes, bytes]]:
    """The pieces of `text` cut in 200 ways; a gap that leaves too little beside it is seldom."""
    vocabulary = VOCABULARIES[kind]
    window = packed(vocabulary, [text])[: None if ended else -1]
    moved = [pieces(vocabulary, moving(vocabulary, spm)(window, random.Random(seed))) for seed in range(200)]
    found = [each for each in moved if each is not None]
    assert len(found) >= 195
    return found


@KINDS
@ORDERS
@given(documents=st.lists(texts, min_size=1, max_size=4), data=st.data())
@DETERMINISTIC
def test_the_bytes_of_every_document_are_found_again(kind: str, spm: bool, documents: list[bytes], data: st.DataObject) -> None:
    """From any window; what had to make room is missing at one end, and the gap is whole."""
    vocabulary = VOCABULARIES[kind]
    tokens = packed(vocabulary, documents)
    start, stop = sorted((data.draw(st.integers(0, len(tokens))), data.draw(st.integers(0, len(tokens)))))
    window = tokens[start:stop]
    moved = moving(vocabulary, spm)(window, random.Random(data.draw(st.integers(0, 1000))))
    assert moved.shape == window.shape and moved.dtype == window.dtype
    borders = list(itertools.accumulate((len(part) for part in split(vocabulary, window)), initial=0))
    for first, last in itertools.pairwise(borders):
        before, after = window[first:last], moved[first:last]
        found, original = pieces(vocabulary, after), vocabulary.decode(before.tolist())
        if found is None:
            assert (after == before).all()
            continue
        prefix, suffix, gap = found  # with the suffix first, the prefix stands before the gap
        rebuilt = prefix + gap + suffix
        assert (original.startswith(rebuilt) or original.endswith(rebuilt)) and len(rebuilt) < len(original)
        assert prefix == b"" or not spm


@KINDS
def test_a_gap_begins_and_ends_between_characters(kind: str) -> None:
    assert all(gap.decode() in TEXT for _, _, gap in found_in(kind, TEXT.encode()))


@ORDERS
def test_a_gap_may_end_anywhere_also_inside_a_token(spm: bool) -> None:
    vocabulary, text = VOCABULARIES["bpe"], TEXT.encode()
    ends = set()
    for prefix, suffix, gap in found_in("bpe", text, spm):
        from_the_start = text.startswith(prefix + gap + suffix)
        ends.add(len(prefix + gap) if from_the_start else len(text) - len(suffix))
    assert ends - set(np.cumsum(vocabulary.bytes_per_token[vocabulary.encode(text)]).tolist())
    assert min(ends) < len(text) / 4 and len(text) in ends


@KINDS
@pytest.mark.parametrize("ended", [True, False])
def test_a_document_gives_up_no_more_than_it_needs(kind: str, ended: bool) -> None:
    """Three sentinels, and the end of a document that the window cut; more only for tokens that were cut in two."""
    for found in found_in(kind, b"x = y + 1\n" * 20, ended=ended):
        lost = 200 - sum(map(len, found))
        assert lost == (3 if ended else 4) if kind != "bpe" else 3 <= lost < 40


def test_what_makes_room_lies_far_from_the_gap() -> None:
    """The longer of prefix and suffix loses it, at its far end."""
    text, sides = bytes(range(65, 91)) * 3, set[bool]()
    for prefix, suffix, gap in found_in("bytes", text):
        at_the_start = text.endswith(prefix + gap + suffix)
        assert (len(prefix) + 3 > len(suffix)) if at_the_start else (len(suffix) + 3 >= len(prefix))
        sides.add(at_the_start)
    assert len(sides) == 2


@KINDS
def test_short_documents_and_special_tokens_stay_as_they_are(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]
    separator = vocabulary.specials["<file_sep>"]
    long = vocabulary.encode(TEXT)
    short = packed(vocabulary, [b"", b"a", b"", b"ab"])
    for window in (short, np.array([*long, separator, *long]), np.zeros(0, dtype=np.int64)):
        for seed in range(20):
            assert (moving(vocabulary)(window, random.Random(seed)) == window).all()


def test_no_document_depends_on_another() -> None:
    vocabulary = VOCABULARIES["bpe"]
    first, second, third, other = (text.encode() for text in (TEXT, TEXT[7:], TEXT[3:], "x = 1\n" * 30))
    infilling = Infilling(vocabulary, 0.5, 0.5)
    for seed in range(30):
        one, two = (
            split(vocabulary, infilling(packed(vocabulary, [first, middle, third]), random.Random(seed))) for middle in (second, other)
        )
        assert (one[0] == two[0]).all() and (one[2] == two[2]).all()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_rate_is_that_of_documents(rate: float) -> None:
    vocabulary = VOCABULARIES["char"]
    window = packed(vocabulary, [TEXT.encode()] * 10)
    moved = [split(vocabulary, moving(vocabulary, rate=rate)(window, random.Random(seed))) for seed in range(60)]
    share = np.mean([pieces(vocabulary, document) is not None for documents in moved for document in documents])
    assert share == pytest.approx(rate, abs=0.05)
    if rate == 0:
        assert all((np.concatenate(documents) == window).all() for documents in moved)


def test_the_orders_share_the_documents() -> None:
    vocabulary = VOCABULARIES["char"]
    window, specials = packed(vocabulary, [TEXT.encode()] * 10), vocabulary.specials
    moved = [split(vocabulary, Infilling(vocabulary, 1.0, 0.25)(window, random.Random(seed))) for seed in range(60)]
    suffix_first = [document[:2].tolist() == [specials[FIM_PREFIX], specials[FIM_SUFFIX]] for each in moved for document in each]
    assert np.mean(suffix_first) == pytest.approx(0.25, abs=0.05)


def test_a_prompt_is_the_beginning_of_what_was_trained_on() -> None:
    vocabulary = VOCABULARIES["char"]
    ids = vocabulary.specials
    before, after, gap = ids[FIM_PREFIX], ids[FIM_SUFFIX], ids[FIM_MIDDLE]
    assert infill_prompt(vocabulary, [10, 11], [12]) == [before, 10, 11, after, 12, gap]
    assert infill_prompt(vocabulary, [10, 11], [12], spm=True) == [before, after, 12, gap, 10, 11]


def test_a_window_is_moved_the_same_for_ever() -> None:
    vocabulary = Char("")
    moved = Infilling(vocabulary, 1.0, 0.5)(packed(vocabulary, [b"abcdefghijklmnopqrstuvwxyz"] * 2), random.Random(7))
    names = {index: name for name, index in vocabulary.specials.items()}
    assert "".join(names.get(token) or chr(token - 6) for token in moved.tolist()) == PINNED
