"""Each filter at its threshold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.config import Thresholds
from data_prep.document import Document
from data_prep.rules import filters
from data_prep.rules.filters import (
    Comments,
    EncodedData,
    FewAlphabetic,
    FewAlphanumeric,
    Filter,
    Generated,
    LongLines,
    ShortTokens,
    TooLarge,
    Unparsable,
    Xml,
    alphabetic_share,
    alphanumeric_share,
    count_pretokens,
    first_reason,
    quality_filters,
)
from data_prep.rules.python_text import comment_share
from tests.data_prep.example_documents import code, document

CASES: list[tuple[Filter, str, str]] = [  # filter, the last text that passes, the first that is dropped
    (TooLarge(4), "éé", "ééx"),
    (LongLines(9, 5, 99), "12345\n1", "123456\n1"),
    (LongLines(9, 99, 3), "12345\n1", "12345\n12"),
    (LongLines(2, 99, 99), "1\n2", "1\n2\n3"),
    (FewAlphanumeric(0.25), "a---", "a----"),
    (FewAlphanumeric(0.25), "é---", "é----"),
    (FewAlphabetic(0.25), "a123", "a1234"),
    (FewAlphabetic(0.25), "é123", "é1234"),
    (Xml(), " " * 100 + "<?xml version=", "# <?xml version='1.0'?>"),
    (Generated(), "\n" * 5 + "# This file is generated", "\n" * 4 + "# This file is GENERATED"),
    (EncodedData(100, 1.0), f"'{'Q' * 100}'", f"'{'Q' * 101}'"),
    (EncodedData(999, 0.5), "-" * 64 + "Q" * 64, "-" * 63 + "Q" * 64),
    (EncodedData(999, 0.5), "-" * 48 + "\\u00ff" * 8, "-" * 47 + "\\u00ff" * 8),
    (ShortTokens(2.5), "numbers=12", "number=12"),  # four tokens: the word, '=', and each digit
    (Comments(0.01, 1), "#" + "\n" * 98, "#" + "\n" * 99),
    (Comments(0, 0.8), "#234567" + "\n" * 2, "#2345678" + "\n" * 2),
    (Comments(0, 0.8), "'234567'", "'234567890123456789'"),
    (Unparsable(), "\ufeffprint('\\d')\n", "print 'x'"),
    (Unparsable(), "# coding: utf-8\nx = 'é'", "x = '\x00'"),
    (Unparsable(), "(" * 50 + ")" * 50, "(" * 5000 + ")" * 5000),
]


@pytest.mark.parametrize(("rule", "passes", "dropped"), CASES)
def test_the_threshold(rule: Filter, passes: str, dropped: str) -> None:
    assert not rule.drops(document(text=passes))
    assert rule.drops(document(text=dropped))


def test_hexadecimal_bytes_are_encoded_data() -> None:
    assert EncodedData(999, 0.5).drops(document(text="x = [" + "0xff," * 20 + "]"))
    assert not EncodedData(1024, 0.5).drops(document(text=code(1, 1)))


@given(st.text("aF0x,\\ \n\tu9z=+-\x0b\x1c\xa0é", max_size=90))
def test_encoded_data_is_looked_for_wherever_it_may_be(text: str) -> None:
    for piece in (text, "0f, " * 7 + text, "\\u00ff" * 7 + text, "Qq=\n" * 15 + text):
        held = [len(match[0]) for match in filters._ENCODED.finditer(piece)]
        assert EncodedData(0, 1).drops(document(text=piece)) == bool(held)


@given(st.text("ab_ 12\n\t+-()\x0b\x1c", max_size=30) | st.text(max_size=30))
def test_pieces_are_counted_as_the_pattern_finds_them(text: str) -> None:
    assert count_pretokens(text) == len(filters._PRETOKEN.findall(text))


@pytest.mark.parametrize("rule", [Unparsable(), ShortTokens(2.5), Comments(0.01, 0.8)])
def test_rules_of_python_let_other_languages_pass(rule: Filter) -> None:
    assert rule.drops(document(text="x=(1"))
    assert not rule.drops(Document("owner/project", "a.js", ("MIT",), "JavaScript", "x=(1"))


@pytest.mark.parametrize("text", ["", "#" * 50, "x = 1\n" * 50])
def test_zero_and_one_are_no_bounds_of_the_comments(text: str) -> None:
    assert not Comments(0, 1).drops(document(text=text))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("# 3456789\n", 9 / 10),
        ("x = '#'\ny=1", 0),
        ('x = """\n# 1"""', 0),
        ("x = 'it'  # don't", 7 / 17),
        ("x = '\\'#'  # \"", 3 / 14),
        ('"""A"""\nclass B:\n  "C"\n  if 1:\n    async def d(): "E"\n  "F"', 3 / 59),
        ("x = (  # open", 6 / 13),
        ("", 0),
    ],
)
def test_comments_and_docstrings_are_told_from_code(text: str, share: float) -> None:
    assert comment_share(text) == pytest.approx(share)


def test_the_published_defaults_keep_clean_code_and_name_the_first_reason() -> None:
    filters = quality_filters(Thresholds())
    assert first_reason(document(text=code(1, 1)), filters) is None
    assert first_reason(document(text=" \n\t"), filters) == "empty"
    assert first_reason(document(text="x = 1\n" * 100_000), filters) == "long lines"
    assert first_reason(document(text="value = (\n"), filters) == "syntax"
    assert first_reason(document(text="value = other\n"), filters) == "comments"
    assert first_reason(document(text="# of\nvalue = 3.14159, 2.71828, 1.41421\n"), filters) == "few alphabetic"
    assert len({one.reason for one in filters}) == len(filters)


def test_a_huge_line_is_refused_before_it_is_searched() -> None:
    assert first_reason(document(text="a" * 20_000_000), quality_filters(Thresholds())) == "too large"


@pytest.mark.parametrize(("text", "share"), [("", 0.0), ("ab__", 0.5), ("é1_-", 0.5), ("_", 0.0)])
def test_alphanumeric_share(text: str, share: float) -> None:
    assert alphanumeric_share(text) == share


@pytest.mark.parametrize(("text", "share"), [("", 0.0), ("ab1_", 0.5), ("é1_数", 0.5), ("1", 0.0)])
def test_alphabetic_share(text: str, share: float) -> None:
    assert alphabetic_share(text) == share
