"""The measure of degeneration: each figure by hand, and both writers measured alike."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codenas.evaluate.collapse import (
    CollapseLimits,
    CollapseReport,
    completion_quality,
    is_collapsed,
    longest_line_run,
    longest_run,
    seq_rep_4,
)
from tests.evaluate.test_prompts import DOCUMENTS, decode

VARIED = list(b"for item in items:\n    total += item.price\nreturn total\n")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [([], 0), ([1, 2, 3], 0), ([1, 2, 3, 4], 0), ([1] * 5, 0.5), ([1] * 103, 0.99), ([1, 2, 3, 4, 1, 2, 3, 4], 1 - 4 / 5)],
)
def test_seq_rep_4_is_the_share_of_repeated_4_grams(tokens: list[int], expected: float) -> None:
    assert seq_rep_4(tokens) == pytest.approx(expected)


@given(st.lists(st.integers(0, 3)))
def test_figures_stay_in_their_bounds_and_are_equal_for_renamed_tokens(tokens: list[int]) -> None:
    assert 0 <= seq_rep_4(tokens) < 1
    assert 0 <= longest_run(tokens) <= len(tokens)
    assert seq_rep_4(tokens) == seq_rep_4([token + 7 for token in tokens])


def test_longest_runs() -> None:
    assert longest_run([]) == 0
    assert longest_run([1, 1, 2, 2, 2, 1]) == 3
    assert longest_line_run("a\n\na  \n\na\nb\na\n") == 3
    assert longest_line_run("\n\n\n") == 0


@pytest.mark.parametrize(
    ("text", "collapsed"),
    [
        ("", True),
        (" \n\n\t ", True),
        ("return self.value\n", False),
        ("x" * 16, True),  # by seq-rep-4
        ("a = 1\n" * 9, True),
    ],
)
def test_is_collapsed(text: str, collapsed: bool) -> None:
    assert is_collapsed(list(text.encode()), text) is collapsed


def test_each_limit_works_alone_and_its_bound_is_inside() -> None:
    distinct = list(range(100))
    assert not is_collapsed([*distinct, *[7] * 16], "text")
    assert is_collapsed([*distinct, *[8] * 17], "text")
    assert not is_collapsed(distinct, "line\n" * 8)
    assert is_collapsed(distinct, "line\n" * 9)
    assert not is_collapsed([1] * 5, "text")  # exactly 0.5
    assert is_collapsed([1] * 6, "text")
    assert is_collapsed(distinct, "line\n" * 3, CollapseLimits(line_run=2))


def test_a_model_that_repeats_the_human_text_gets_the_human_figures() -> None:
    answers = {tuple(document[i : i + 64]): document[i + 64 : i + 128] for document in DOCUMENTS for i in range(len(document) - 127)}
    report = completion_quality(
        lambda prompt, count: answers[tuple(prompt)][:count],
        decode,
        DOCUMENTS,
        temperature=0.8,
        prompt_tokens=64,
        completion_tokens=64,
        seed=3,
    )
    assert report.model == report.human
    assert (report.prompts, report.temperature, report.collapsed, report.model.parse_rate) == (20, 0.8, 0, 1.0)
    assert CollapseReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("completion", [b"", b"x" * 64, b"\n" * 64, b"a = 1\n" * 10])
def test_a_degenerate_model_is_counted_and_the_human_is_not(completion: bytes) -> None:
    report = completion_quality(
        lambda prompt, count: list(completion), decode, DOCUMENTS, temperature=0, prompts=5, prompt_tokens=64, completion_tokens=64
    )
    assert report.collapsed == 5 and report.human.collapsed == 0


def test_broken_code_lowers_the_parse_rate_of_the_model_only() -> None:
    report = completion_quality(
        lambda prompt, count: list(b"def def def\n  )\n"),
        decode,
        DOCUMENTS,
        temperature=1,
        prompts=4,
        prompt_tokens=64,
        completion_tokens=64,
    )
    assert report.model.parse_rate == 0 and report.human.parse_rate == 1


def test_the_human_text_is_as_long_as_what_the_model_wrote() -> None:
    lengths: list[int] = []

    def watching(ids: Sequence[int]) -> bytes:
        lengths.append(len(ids))
        return decode(ids)

    completion_quality(
        lambda prompt, count: VARIED[:17], watching, DOCUMENTS, temperature=1, prompts=3, prompt_tokens=64, completion_tokens=64
    )
    assert lengths.count(17) == 6
    assert 64 not in lengths
