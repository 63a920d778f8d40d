"""The settings."""

from typing import Any

import pytest

from codenas.errors import ConfigError
from data_prep.config import PrepareConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabsize": 4096}, r"vocabsize = 4096: Extra inputs.*known keys: source.*vocab_size"),
        ({"vocab_size": 10}, r"vocab_size = 10:.*262"),
        ({"valid_share": 0.9}, r"valid_share = 0.9"),
        ({"workers": 0}, r"workers = 0"),
        ({"near_dedup": {"rows": 0}}, r"near_dedup.rows = 0"),
        ({"redact": "maybe"}, r"redact = 'maybe'"),
        ({"filters": {"least_comments": 1.0}}, r"filters.least_comments = 1.0"),
        ({"filters": {"longest": 3}}, r"filters.longest = 3"),
        ({"max_megabytes": -1.0, "seed": "x"}, r"max_megabytes.*; seed = 'x'"),
    ],
)
def test_an_illegal_value_is_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        PrepareConfig.of(values)
    assert "\n" not in str(caught.value)


def test_the_digest_names_the_result_and_not_the_way_there() -> None:
    assert PrepareConfig(workers=1).digest == PrepareConfig(workers=7).digest
    changed: list[dict[str, Any]] = [{"seed": 1}, {"vocab_size": 300}, {"source": "x"}, {"filters": {"lines": 9}}]
    changed += [{"redact": False}, {"near_dedup": {"enabled": False}}]
    assert len({PrepareConfig.of(values).digest for values in ({}, *changed)}) == 7
