"""The settings, as a job file and as options make them."""

from pathlib import Path
from typing import Any

import pytest

from codenas.cli.job_file import load_job
from codenas.cli.options import settings_of
from codenas.errors import ConfigError
from data_prep.config import PrepareConfig, Thresholds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vocabsize = 4096", "unknown key prepare.vocabsize; did you mean 'vocab_size'"),
        ("nothing = 1", "unknown key prepare.nothing; known keys are .*source.*vocab_size"),
        ("vocab_size = 10", "prepare.vocab_size = 10 is refused: .*262"),
        ("valid_share = 0.9", "prepare.valid_share = 0.9 is refused"),
        ("workers = 0", "prepare.workers = 0 is refused"),
        ("near_dedup = { rows = 0 }", "prepare.near_dedup.rows = 0 is refused"),
        ("redact = 'maybe'", "prepare.redact = 'maybe' is refused"),
        ("filters = { least_comments = 1.0 }", "prepare.filters.least_comments = 1.0 is refused"),
        ("filters = { longest = 3 }", "unknown key prepare.filters.longest; did you mean 'longest_line'"),
        ("max_megabytes = -1.0\nseed = 'x'", "prepare.max_megabytes = -1.0 is refused"),
        ("seed = 'x'", "prepare.seed = 'x' is refused"),
    ],
)
def test_an_illegal_value_is_one_clear_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(f"[prepare]\n{text}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        load_job(tmp_path / "job.toml")
    assert "\n" not in str(caught.value)


def test_so_many_ids_are_asked_of_each_vocabulary() -> None:
    assert PrepareConfig(vocab_size=500).asked_ids((None, "char", "bpe-300")) == {None: 500, "char": 262, "bpe-300": 300}


def test_the_digest_names_the_result_and_not_the_way_there() -> None:
    assert PrepareConfig(workers=1).digest == PrepareConfig(workers=7).digest
    changed: list[dict[str, Any]] = [{"seed": 1}, {"vocab_size": 300}, {"source": "x"}, {"filters": {"lines": 9}}]
    changed += [{"redact": False}, {"near_dedup": {"enabled": False}}]
    assert len({settings_of(PrepareConfig, values).digest for values in ({}, *changed)}) == 7


class LaterThresholds(Thresholds):
    shortest_line: int = 0


class LaterConfig(PrepareConfig):
    """As a later version may have it."""

    filters: LaterThresholds = LaterThresholds()
    most_files: int | None = None


def test_a_key_that_comes_later_leaves_corpora_valid() -> None:
    now: dict[str, Any] = {"source": "x", "seed": 7, "filters": {"lines": 9}}
    assert LaterConfig().digest == PrepareConfig().digest
    assert settings_of(LaterConfig, now).digest == settings_of(PrepareConfig, now).digest
    assert len({LaterConfig().digest, LaterConfig(most_files=3).digest, LaterConfig(filters=LaterThresholds(shortest_line=1)).digest}) == 3


def test_corpora_that_exist_stay_what_these_settings_ask_for() -> None:
    """The digests in their manifests. If one changes here, every corpus is one of other settings, and is prepared anew."""
    assert PrepareConfig().digest == "525c79a1a813f0e3ac9d0061ad2ea8113a64af0e39905bed3126689caeeba996"
    other = settings_of(PrepareConfig, {"source": "x", "languages": ["go"], "filters": {"lines": 9}})
    assert other.digest == "b0909011989f317fadc866487355104d9db7a9486f4bbe0f23a19fc0664bcb17"
