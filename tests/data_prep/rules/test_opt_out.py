"""The opt-out list."""

from pathlib import Path

import pytest

from codenas.errors import ConfigError
from data_prep.document import Entry
from data_prep.rules.opt_out import load_opt_out, opted_out


@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        ("ann/one", "opted out"), ("Ann/Two", "opted out"), ("bob/project", "opted out"), ("BOB/Project", "opted out"),
        ("bob/other", None), ("annie/one", None), ("carol/ann", None), ("one", None), ("ann", "opted out"),
    ],
)  # fmt: skip
def test_owners_and_repositories_are_left_out(repository: str, reason: str | None) -> None:
    rule = opted_out(["ann", "Bob/project/"])
    assert rule(Entry(repository, "a.py", ("MIT",), 1, "f")) == reason


def test_the_list_has_comments_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# asked on Monday\nann\n\n  bob/project  # by mail\n")
    assert load_opt_out(str(tmp_path / "list.txt")) == ["ann", "bob/project"]
    assert load_opt_out(None) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "list.txt cannot be read: No such file or directory; name a file that exists, or leave it out"),
        (b"\xff", "list.txt cannot be read: it is not UTF-8"),
        (b"ann\nann and bob\n", "list.txt has the line 'ann and bob'; write an owner or owner/repository"),
        (b"https://github.com/ann/one\n", "has the line 'https://github.com/ann/one'"),
    ],
)
def test_a_list_of_something_else_is_one_clear_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_opt_out(str(tmp_path / "list.txt"))
