"""The sample for the vocabulary, and token ids per unit."""

from pathlib import Path

import pyarrow as pa
import pytest

from codenas.vocab import END_OF_TEXT, Bpe
from data_prep.document import Entry
from data_prep.sources.parquet import list_entries, parquet_files
from data_prep.tokens.tokenise import encode, sample, texts_of
from data_prep.units import units_of
from tests.data_prep.example_documents import code, documents, write_source


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    source = write_source(tmp_path / "source")
    held = sorted(list_entries(parquet_files(source), source), key=lambda entry: entry.key)
    for number, entry in enumerate(held):
        entry.split = "valid" if number % 5 == 0 else "train"
    return held


def test_the_sample_is_bounded_spread_and_always_the_same(entries: list[Entry]) -> None:
    taken = sample(entries, 10_000, seed=0)
    assert 8_000 < sum(entry.size for entry in taken) <= 10_000
    assert len({entry.repository for entry in taken}) > 4
    assert sample(list(reversed(entries)), 10_000, seed=0) == taken
    assert sample(entries, 10_000, seed=1) != taken
    assert sample(entries, 1, seed=0) == taken[:1]


def test_texts_are_read_back(entries: list[Entry], tmp_path: Path) -> None:
    assert sorted(texts_of(entries, tmp_path / "source")) == sorted(document.text for document in documents())


def test_documents_are_encoded_by_split_and_each_ends(entries: list[Entry], tmp_path: Path) -> None:
    vocabulary = Bpe.train([code(1, 1)], 300)
    vocabulary.save(tmp_path / "tokenizer.json")
    units = units_of(entries)
    table = encode(pa.concat_tables([unit.table for unit in units]), tmp_path / "source", tmp_path / "tokenizer.json")
    end = vocabulary.specials[END_OF_TEXT]
    for split in ("train", "valid"):
        rows = [row for row in table.to_pylist() if row["split"] == split]
        ids = [token for row in rows for token in row["tokens"]]
        members = [entry for entry in entries if entry.split == split]
        assert ids[-1] == end
        assert ids.count(end) == sum(row["documents"] for row in rows) == len(members)
        texts = texts_of(members, tmp_path / "source")
        assert vocabulary.decode(ids) == "".join(texts).encode()
        assert sum(row["bytes"] for row in rows) == sum(entry.size for entry in members)
