"""Each filter at its threshold."""

import pytest

from data_prep.config import Thresholds
from data_prep.document import Document
from data_prep.filters import (
    EncodedData,
    FewLetters,
    Filter,
    Generated,
    LongLines,
    TooLarge,
    Unparsable,
    Xml,
    alphanumeric_share,
    first_reason,
    quality_filters,
)
from tests.data_prep.sources import code, document

CASES: list[tuple[Filter, str, str]] = [  # filter, the last text that it lets pass, the first that it refuses
    (TooLarge(4), "éé", "ééx"),
    (LongLines(9, 5, 99), "12345\n1", "123456\n1"),
    (LongLines(9, 99, 3), "12345\n1", "12345\n12"),
    (LongLines(2, 99, 99), "1\n2", "1\n2\n3"),
    (FewLetters(0.25), "a---", "a----"),
    (FewLetters(0.25), "é---", "é----"),
    (Xml(), " " * 100 + "<?xml version=", "# <?xml version='1.0'?>"),
    (Generated(), "\n" * 5 + "# This file is generated", "\n" * 4 + "# This file is GENERATED"),
    (EncodedData(100, 1.0), f"'{'Q' * 100}'", f"'{'Q' * 101}'"),
    (EncodedData(999, 0.5), "-" * 64 + "Q" * 64, "-" * 63 + "Q" * 64),
    (EncodedData(999, 0.5), "-" * 48 + "\\u00ff" * 8, "-" * 47 + "\\u00ff" * 8),
    (Unparsable(), "\ufeffprint('\\d')\n", "print 'x'"),
    (Unparsable(), "# coding: utf-8\nx = 'é'", "x = '\x00'"),
    (Unparsable(), "(" * 50 + ")" * 50, "(" * 5000 + ")" * 5000),
]


@pytest.mark.parametrize(("rule", "passes", "refused"), CASES)
def test_the_threshold(rule: Filter, passes: str, refused: str) -> None:
    assert not rule.refuses(document(text=passes))
    assert rule.refuses(document(text=refused))


def test_hexadecimal_bytes_are_encoded_data() -> None:
    assert EncodedData(999, 0.5).refuses(document(text="x = [" + "0xff," * 20 + "]"))
    assert not EncodedData(1024, 0.5).refuses(document(text=code(1, 1)))


def test_other_languages_are_not_parsed() -> None:
    assert not Unparsable().refuses(Document("owner/project", "a.js", ("MIT",), "JavaScript", "let x = {"))


def test_the_published_defaults_keep_clean_code_and_name_the_first_reason() -> None:
    filters = quality_filters(Thresholds())
    assert first_reason(document(text=code(1, 1)), filters) is None
    assert first_reason(document(text=" \n\t"), filters) == "empty"
    assert first_reason(document(text="x = 1\n" * 100_000), filters) == "long lines"
    assert first_reason(document(text="value = (\n"), filters) == "syntax"
    assert len({one.reason for one in filters}) == len(filters)


def test_a_huge_line_is_refused_before_it_is_searched() -> None:
    assert first_reason(document(text="a" * 20_000_000), quality_filters(Thresholds())) == "too large"


@pytest.mark.parametrize(("text", "share"), [("", 0.0), ("ab__", 0.5), ("é1_-", 0.5), ("_", 0.0)])
def test_alphanumeric_share(text: str, share: float) -> None:
    assert alphanumeric_share(text) == share
