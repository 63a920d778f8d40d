"""The corpus card."""

import pytest
from pydantic import ValidationError

from codenas.corpus import ShardInfo, SplitInfo, Tally
from codenas.corpus.manifest import content_digest, dtype_for


def split(sha256: str = "a", tokens: int = 3) -> SplitInfo:
    return SplitInfo(tokens=3, bytes=9, documents=1, repositories=1, shards=(ShardInfo(file="f", tokens=tokens, sha256=sha256),))


def test_shards_must_add_up() -> None:
    with pytest.raises(ValidationError, match="hold 4 tokens, the split says 3"):
        split(tokens=4)


def test_the_digest_follows_the_content() -> None:
    digests = {
        content_digest("v", "uint16", {"train": split()}),
        content_digest("w", "uint16", {"train": split()}),
        content_digest("v", "uint32", {"train": split()}),
        content_digest("v", "uint16", {"train": split("b")}),
        content_digest("v", "uint16", {"valid": split()}),
    }
    assert len(digests) == 5


def test_tallies_add() -> None:
    assert Tally(documents=1, bytes=2) + Tally(documents=3, bytes=4) == Tally(documents=4, bytes=6)


def test_the_type_holds_every_id() -> None:
    assert [dtype_for(size) for size in (300, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
