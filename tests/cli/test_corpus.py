"""`codenas corpus`: a corpus in tables, and as a page."""

from pathlib import Path

import pytest

from tests.cli.commands import codenas, shown
from tests.corpus.corpora import write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", {"train": [[1, 2, 3]], "valid": [[1]], "test": [[2]]}).path


def test_a_corpus_without_figures_is_shown_with_a_note(corpus: Path) -> None:
    output = shown("corpus", "show", corpus)
    assert "made by a test" in output and "bytes/token" in output
    assert "an earlier version prepared this corpus, without statistics" in " ".join(output.split())


def test_the_page_is_written_beside_the_corpus_or_where_it_is_wanted(corpus: Path, tmp_path: Path) -> None:
    assert shown("corpus", "report", corpus) == f"report: {corpus}/report.html\n"
    shown("corpus", "report", corpus, "--output", tmp_path / "else/page.html")
    assert (tmp_path / "else/page.html").read_text() == (corpus / "report.html").read_text()


@pytest.mark.parametrize("command", ["show", "report"])
def test_what_is_no_corpus_is_one_line(command: str, tmp_path: Path) -> None:
    done = codenas("corpus", command, tmp_path)
    assert done.exit_code == 2 and "there is no corpus in" in done.stderr and done.stderr.count("\n") == 1
