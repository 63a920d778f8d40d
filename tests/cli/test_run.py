"""The folder of a run: what it names, and what it cannot."""

from pathlib import Path

import pytest

from codenas.cli.run import Run
from codenas.errors import RunError


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x80", b"/corpora\x00/mine", b"a\nb"])
def test_a_pointer_that_names_no_corpus_says_the_way_out(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(content)
    with pytest.raises(RunError, match=f"{tmp_path / 'corpus'} does not name the folder of a corpus; remove it and name one again"):
        Run(tmp_path).use_corpus(tmp_path / "other")


def test_a_pointer_names_a_corpus_in_any_script(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("/corpora/größe\n", encoding="utf-8")
    assert Run(tmp_path).corpus == Path("/corpora/größe")
