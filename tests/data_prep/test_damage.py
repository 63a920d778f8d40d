"""A file of a corpus or of its source that is damaged ends the command in one line."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from codenas.corpus import Corpus
from codenas.errors import CorpusError
from data_prep.pipeline import prepare
from data_prep.process import process
from data_prep.sources.parquet import list_entries, parquet_files
from data_prep.tokens.texts import read_texts
from data_prep.units import units_of
from tests.data_prep.sources.test_parquet import PROCESSOR
from tests.data_prep.test_pipeline import configure

MORE = {"vocabularies": ["bpe-300"]}


def truncate(file: Path, column: str = "") -> None:
    file.write_bytes(file.read_bytes()[:-20])


def damage(file: Path, column: str) -> None:
    """Overwrite the pages of one column of the first row group; everything else stays readable."""
    with pq.ParquetFile(file) as parquet:
        names = [parquet.metadata.row_group(0).column(index).path_in_schema for index in range(parquet.metadata.num_columns)]
        held = parquet.metadata.row_group(0).column(next(index for index, name in enumerate(names) if name.startswith(column)))
    data = bytearray(file.read_bytes())
    start = held.dictionary_page_offset or held.data_page_offset
    data[start : start + held.total_compressed_size] = b"\xff" * held.total_compressed_size
    file.write_bytes(data)


@pytest.fixture
def corpus(source: Path, tmp_path: Path, plain: None) -> Corpus:
    return prepare(configure(source), tmp_path / "corpus")


@pytest.mark.parametrize("harm", [truncate, damage])
def test_the_list_of_documents(harm: Callable[[Path, str], None], corpus: Corpus, source: Path) -> None:
    harm(corpus.path / "documents.parquet", "repository")
    message = r"documents.parquet is damaged \(.*\); restore it, or remove the folder .*corpus and run codenas prepare again"
    with pytest.raises(CorpusError, match=message) as caught:
        read_texts(corpus.path, 1, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(CorpusError, match=message):
        prepare(configure(source, **MORE), corpus.path)


def test_the_pages_of_the_source(corpus: Corpus, source: Path) -> None:
    damage(source / "data/train-00000-of-00002.parquet", "content")
    with pytest.raises(CorpusError, match=r"train-00000-of-00002.parquet is not a whole parquet file \(.+\); fetch it again"):
        prepare(configure(source, **MORE), corpus.path)


def test_rows_of_a_file_that_is_gone_are_not_left_out_silently(source: Path) -> None:
    (unit, *_) = units_of(list_entries(parquet_files(source), source))
    (source / unit.file).unlink()
    with pytest.raises(CorpusError, match="cannot be read: No such file or directory; restore it"):
        process(unit.table, source, PROCESSOR)


@pytest.mark.usefixtures("plain")
def test_the_results_of_a_row_group(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("data_prep.stages.train_vocabulary", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus")
    built = tmp_path / ".corpus.part/corpus"
    (built / "documents.parquet").unlink()
    (results, *_) = sorted((built / "units").rglob("*.verdicts"))
    damage(results, "sha256")
    with pytest.raises(CorpusError, match=r"verdicts is damaged; remove it and run the same command again"):
        prepare(configure(source), tmp_path / "corpus")
    results.unlink()
    prepare(configure(source), tmp_path / "corpus")


def test_a_json_file(corpus: Corpus, source: Path) -> None:
    truncate(corpus.path / "source.json")
    with pytest.raises(CorpusError, match=r"source.json is damaged \(Invalid JSON: .*\); restore it"):
        prepare(configure(source, **MORE), corpus.path)
