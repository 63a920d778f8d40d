"""A corpus in several vocabularies: the same documents, found by name, and one line where a name is not there."""

import shutil
from pathlib import Path

import pytest

from codenas.corpus import Corpus
from codenas.corpus.shards import VOCABULARIES
from codenas.errors import CorpusError
from codenas.vocab import load_vocabulary
from tests.fakes import tiny_corpus

NAMES = ("bpe-280", "char")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return tiny_corpus(tmp_path / "corpus", vocabularies=NAMES)


def test_its_own_vocabulary_needs_no_name(corpus: Corpus) -> None:
    assert corpus.with_vocabulary(None) is corpus and corpus.vocabularies == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_vocabulary_reads_the_same_documents(name: str, corpus: Corpus) -> None:
    other = corpus.with_vocabulary(name)
    own, named = load_vocabulary(corpus.tokenizer_path), load_vocabulary(other.tokenizer_path)
    assert named.digest == other.manifest.vocab_digest != own.digest and other.manifest.digest != corpus.manifest.digest
    for split in corpus.manifest.splits:
        documents = [own.decode(ids.tolist()) for ids in corpus.split(split).documents()]
        assert [named.decode(ids.tolist()) for ids in other.split(split).documents()] == documents


def test_a_vocabulary_that_is_not_there_is_told_with_those_that_are(corpus: Corpus) -> None:
    message = f"{corpus.path} has no vocabulary 'bpe-8192', it has its own, bpe-280, char; prepare .* --vocabulary bpe-8192"
    with pytest.raises(CorpusError, match=message) as caught:
        corpus.with_vocabulary("bpe-8192")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", ".", "", "../corpus/vocabularies/char"])
def test_a_name_is_no_path(name: str, corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="has no vocabulary"):
        corpus.with_vocabulary(name)


def test_an_unfinished_one_is_not_there(corpus: Corpus) -> None:
    (corpus.path / VOCABULARIES / "char" / "corpus.json").unlink()
    (corpus.path / VOCABULARIES / ".bpe-280.abcd1234").mkdir()
    assert corpus.vocabularies == ("bpe-280",)


def test_a_broken_one_is_mended_by_preparing_it_again_and_not_all(corpus: Corpus) -> None:
    folder = corpus.path / VOCABULARIES / "char"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CorpusError, match=f"tokenizer.json is missing; remove {folder} and prepare {corpus.path} again .* char"):
        corpus.with_vocabulary("char")


def test_one_of_other_documents_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    other = tiny_corpus(tmp_path / "other", seed=1, vocabularies=["char"])
    shutil.rmtree(corpus.path / VOCABULARIES / "char")
    shutil.copytree(other.path / VOCABULARIES / "char", corpus.path / VOCABULARIES / "char")
    with pytest.raises(CorpusError, match=f"char holds other documents than {corpus.path}; remove"):
        corpus.with_vocabulary("char")


def test_a_corpus_without_any_is_reported(tmp_path: Path) -> None:
    alone = tiny_corpus(tmp_path / "alone")
    assert alone.vocabularies == ()
    with pytest.raises(CorpusError, match="has no vocabulary 'char', it has its own; prepare"):
        alone.with_vocabulary("char")


def test_shards_of_a_vocabulary_are_verified_like_its_own(corpus: Corpus) -> None:
    char = corpus.with_vocabulary("char")
    char.verify()
    shard = char.path / char.manifest.splits["train"].shards[0].file
    shard.write_bytes(shard.read_bytes()[::-1])
    with pytest.raises(CorpusError, match=f"{shard} was altered"):
        char.verify()
