"""Writing, opening, reading and refusing token shards."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.corpus import Corpus, ShardInfo, ShardWriter
from codenas.errors import CorpusError
from codenas.files import sha256_file
from tests.corpus.corpora import write_corpus

DOCUMENTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11, 12], [13, 14]]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path, {"train": DOCUMENTS, "valid": [[1, 2]], "test": [[3]]})


def test_documents_come_back_over_the_borders_of_shards(corpus: Corpus) -> None:
    assert len(corpus.manifest.splits["train"].shards) == 3
    assert [document.tolist() for document in corpus.split("train").documents()] == DOCUMENTS


@given(limit=st.integers(1, 20), chunk=st.integers(1, 20), data=st.data())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_every_range_reads_as_the_plain_array(
    limit: int, chunk: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    whole = np.arange(1, 31)
    tokens = write_corpus(folder, {"train": [whole.tolist()]}, shard_tokens=limit).split("train")
    start = data.draw(st.integers(0, len(tokens)))
    stop = data.draw(st.integers(start, len(tokens)))
    assert tokens.read(start, stop).dtype == np.int64
    assert tokens.read(start, stop).tolist() == [*whole, 0][start:stop]


def test_documents_do_not_depend_on_the_size_of_the_pieces_read(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1, 2, 3, 5, 100):
        monkeypatch.setattr("codenas.corpus.shards._CHUNK_TOKENS", chunk)
        assert [document.tolist() for document in corpus.split("train").documents()] == DOCUMENTS


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 99)])
def test_a_range_outside_is_refused(corpus: Corpus, start: int, stop: int) -> None:
    with pytest.raises(IndexError, match="not inside the 18"):
        corpus.split("train").read(start, stop)


def test_large_ids_need_the_wide_type(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, {"train": [[70_000, 1]]}, dtype="uint32")
    assert corpus.split("train").read(0, 2).tolist() == [70_000, 1]
    assert (tmp_path / corpus.manifest.splits["train"].shards[0].file).stat().st_size == 3 * 4


def test_the_same_tokens_in_other_pieces_make_the_same_shards(tmp_path: Path) -> None:
    shards = []
    for number, pieces in enumerate(([10], [3, 3, 4], [1] * 10)):
        with ShardWriter(tmp_path / str(number), "train", "uint16", 4) as writer:
            start = 0
            for size in pieces:
                writer.append(np.arange(start, start + size))
                start += size
            shards.append(writer.finish())
    assert shards[0] == shards[1] == shards[2]
    assert [shard.tokens for shard in shards[0]] == [4, 4, 2]


@pytest.mark.parametrize("left", range(11))
def test_what_is_left_is_taken_up_over_the_borders_of_shards(left: int, tmp_path: Path) -> None:
    whole = write_shards(tmp_path / "whole", np.arange(10))
    earlier = ShardWriter(tmp_path / "again", "train", "uint16", 4)
    hashes = [earlier.append(np.arange(left)), earlier.append(np.arange(90, 99))]  # the second is not wanted again
    earlier.finish()
    with ShardWriter(tmp_path / "again", "train", "uint16", 4) as writer:
        assert not writer.has_written(left, hashes[1]) and not writer.has_written(99, hashes[0])
        assert writer.has_written(left, hashes[0])
        writer.resume(left)
        writer.append(np.arange(left, 10))
        assert writer.finish() == whole
    assert [path.read_bytes() for path in shard_files(tmp_path / "again")] == [
        path.read_bytes() for path in shard_files(tmp_path / "whole")
    ]


def write_shards(folder: Path, tokens: npt.NDArray[np.integer]) -> tuple[ShardInfo, ...]:
    with ShardWriter(folder, "train", "uint16", 4) as writer:
        writer.append(tokens)
        return writer.finish()


def shard_files(folder: Path) -> list[Path]:
    return sorted((folder / "tokens").iterdir())


@pytest.mark.parametrize("ids", [[1, 65_536], [-1]])
def test_an_id_that_does_not_fit_is_refused(ids: list[int], tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", "uint16") as writer, pytest.raises(ValueError, match="do not fit"):
        writer.append(np.array(ids))


def test_verify_finds_an_altered_shard_that_open_does_not(corpus: Corpus) -> None:
    corpus.verify()
    file = corpus.path / corpus.manifest.splits["train"].shards[1].file
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    with pytest.raises(CorpusError, match=r"train-00001.bin was altered.*codenas prepare"):
        Corpus.open(corpus.path).verify()


def test_what_was_verified_is_not_read_again_until_it_changes(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = corpus.path / corpus.manifest.splits["train"].shards[1].file, list[Path]()

    def counted(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("codenas.corpus.shards.sha256_file", counted)
    monkeypatch.setattr("codenas.corpus.shards._RACY_NS", -(1 << 62))  # the files are older than that
    for count in (5, 0):
        read.clear()
        corpus.verify()
        assert len(read) == count
    good = file.stat()
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    os.utime(file, ns=(good.st_atime_ns, good.st_mtime_ns))
    with pytest.raises(CorpusError, match=r"train-00001.bin was altered"):
        corpus.verify()


def test_a_shard_that_was_written_just_now_is_read_again(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codenas.corpus.shards._RACY_NS", 1 << 62)
    corpus.verify()
    monkeypatch.setattr("codenas.corpus.shards.sha256_file", lambda _: "read again")
    with pytest.raises(CorpusError, match="was altered"):
        corpus.verify()


@pytest.mark.parametrize("stamps", [b"\xff", b"[]", b"null", b"{", b'{"tokens/train-00000.bin": 1}'])
def test_broken_stamps_verify_nothing(stamps: bytes, corpus: Corpus) -> None:
    (corpus.path / ".verified.json").write_bytes(stamps)
    corpus.verify()
    file = corpus.path / corpus.manifest.splits["train"].shards[0].file
    file.write_bytes(b"\x03" + file.read_bytes()[1:])
    with pytest.raises(CorpusError, match="was altered"):
        corpus.verify()


def test_an_id_outside_the_vocabulary_is_never_read(corpus: Corpus) -> None:
    file = corpus.path / corpus.manifest.splits["train"].shards[1].file
    file.write_bytes(b"\xff" * file.stat().st_size)
    tokens = corpus.split("train")
    assert len(tokens.read(0, 7)) == 7
    with pytest.raises(CorpusError, match=r"train-00001.bin holds the id 65535, and the vocabulary ends at 299; remove .*codenas prepare"):
        tokens.read(0, 8)


def test_a_missing_corpus_says_the_way_out(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CorpusError, match=r"there is no corpus in .*codenas prepare --output"):
            Corpus.open(folder)


def test_a_truncated_shard_is_refused_with_both_sizes(corpus: Corpus) -> None:
    file = corpus.path / corpus.manifest.splits["train"].shards[0].file
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorpusError, match=r"has 11 bytes and must have 14"):
        Corpus.open(corpus.path)


def test_a_missing_shard_or_tokenizer_is_refused(corpus: Corpus) -> None:
    (corpus.path / corpus.manifest.splits["valid"].shards[0].file).unlink()
    with pytest.raises(CorpusError, match=r"valid-00000.bin has 0 bytes"):
        Corpus.open(corpus.path)
    corpus.tokenizer_path.unlink()
    with pytest.raises(CorpusError, match=r"tokenizer.json is missing"):
        Corpus.open(corpus.path)


def test_an_empty_corpus_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is empty"):
        write_corpus(tmp_path, {"train": []})
    corpus = write_corpus(tmp_path, {"train": [[1]], "valid": []})
    for name in ("valid", "dev"):
        with pytest.raises(CorpusError, match=f"no tokens in split '{name}'; it has train"):
            corpus.split(name)


@pytest.mark.parametrize("edit", [{"digest": "0"}, {"vocab_digest": "w"}, {"unknown": 1}, {"schema_version": 2}, {"dtype": "int8"}])
def test_an_edited_manifest_is_refused(corpus: Corpus, edit: dict[str, object]) -> None:
    path = corpus.path / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(CorpusError, match=r"corpus.json is broken"):
        Corpus.open(corpus.path)


def test_a_broken_manifest_names_the_field_and_the_reason(corpus: Corpus) -> None:
    path = corpus.path / "corpus.json"
    path.write_text(path.read_text().replace('"documents":4', '"documents":-4'))
    with pytest.raises(CorpusError, match=r"is broken \(splits.train.documents: Input should be greater than or equal to 0\); remove"):
        Corpus.open(corpus.path)


def test_half_a_manifest_is_refused(corpus: Corpus) -> None:
    path = corpus.path / "corpus.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorpusError, match=r"corpus.json is broken"):
        Corpus.open(corpus.path)


def test_the_card_of_an_earlier_version_is_found(corpus: Corpus) -> None:
    (corpus.path / "corpus.json").rename(corpus.path / "manifest.json")
    assert Corpus.open(corpus.path) == corpus
