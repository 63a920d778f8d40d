"""Cutting bytes into valid and invalid runs."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.vocab.base import digest_of, utf8_runs


@given(st.binary(max_size=80))
@settings(derandomize=True, deadline=None)
def test_the_runs_join_to_the_input_and_valid_runs_are_maximal(data: bytes) -> None:
    runs = list(utf8_runs(data))
    assert b"".join(run if isinstance(run, bytes) else run.encode() for run in runs) == data
    assert all(isinstance(left, str) != isinstance(right, str) for left, right in itertools.pairwise(runs))


def test_a_lone_surrogate_becomes_its_three_bytes() -> None:
    assert list(utf8_runs("a\ud800b")) == ["a", b"\xed\xa0\x80", "b"]


def test_many_invalid_bytes_take_linear_time() -> None:
    assert list(utf8_runs(b"\xff" * 1_000_000)) == [b"\xff" * 1_000_000]


def test_the_digest_ignores_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
