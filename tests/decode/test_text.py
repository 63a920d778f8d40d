"""Text comes out whole, whatever the cuts between the bytes that go in."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.decode import TextStream

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=300)


def run(pieces: list[bytes], stops: list[str]) -> tuple[list[str], bool]:
    """The texts that come out for `pieces`, the closing one last, and whether a stop string was met."""
    stream = TextStream(stops)
    texts = [stream.push(piece) for piece in pieces] + [stream.close()]
    return texts, stream.stopped


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at `cuts`."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@given(
    text=st.text(alphabet="ab\né😀", max_size=20),
    stops=st.lists(st.text(alphabet="ab\né", max_size=4), max_size=4),
    cuts=st.lists(st.integers(0, 60)),
)
@DETERMINISTIC
def test_the_cuts_do_not_matter(text: str, stops: list[str], cuts: list[int]) -> None:
    data = text.encode()
    texts, stopped = run(pieces_of(data, cuts), stops)
    whole, stopped_whole = run([data], stops)
    assert "".join(texts) == "".join(whole)
    assert stopped == stopped_whole == any(stop and stop in text for stop in stops)
    assert stopped or "".join(texts) == text
    assert not any(stop and stop in "".join(texts) for stop in stops)


@given(data=st.binary(max_size=24), cuts=st.lists(st.integers(0, 24)))
@DETERMINISTIC
def test_bytes_that_are_no_text_are_replaced(data: bytes, cuts: list[int]) -> None:
    assert "".join(run(pieces_of(data, cuts), [])[0]) == data.decode(errors="replace")


@given(text=st.text(alphabet="ab", max_size=30), stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=5), min_size=1, max_size=3))
@DETERMINISTIC
def test_less_than_the_longest_stop_is_held_back(text: str, stops: list[str]) -> None:
    stream, shown = TextStream(stops), ""
    for length, letter in enumerate(text, 1):
        shown += stream.push(letter.encode())
        if stream.stopped:
            break
        assert length - len(shown) <= max(map(len, stops)) - 1
        assert text.startswith(shown)


def test_a_character_is_never_cut() -> None:
    texts, _ = run([bytes([value]) for value in "x😀y".encode()], [])
    assert texts == ["x", "", "", "", "😀", "y", ""]


def test_a_cut_character_at_the_end_is_replaced() -> None:
    assert run(["é😀".encode()[:-1]], [])[0] == ["é", "\ufffd"]


def test_a_stop_string_across_pieces() -> None:
    texts, stopped = run([b"a = 1\n", b"\n", b"def", b" f"], ["\n\ndef"])
    assert texts == ["a = 1", "", "", "", ""]
    assert stopped


def test_what_only_looked_like_a_stop_string_is_shown() -> None:
    assert run([b"a\n", b"\nde", b"l"], ["\n\ndef"])[0] == ["a", "", "\n\ndel", ""]
    assert run([b"a\n\nde"], ["\n\ndef"])[0] == ["a", "\n\nde"]


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"a", b"b", b"c", b"d"]])
def test_the_stop_string_that_is_complete_first_wins(pieces: list[bytes]) -> None:
    assert "".join(run(pieces, ["abcd", "c"])[0]) == "ab"


def test_empty_stop_strings_stop_nothing() -> None:
    assert run([b"abc"], [""])[0] == ["abc", ""]
