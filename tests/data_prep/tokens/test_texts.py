"""Texts by language of every kind of source."""

import logging
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codenas.errors import CorpusError
from data_prep.entry_table import load_entries
from data_prep.pipeline import prepare
from data_prep.sources.parquet import stack_row
from data_prep.tokens.texts import read_texts
from tests.data_prep.example_documents import code, document, documents, write_environment, write_rows, write_source
from tests.data_prep.test_pipeline import configure
from tests.fakes import tiny_corpus


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_parquet_is_read_by_language(tmp_path: Path) -> None:
    others = [document(path=f"{number}.go", text=f"package p{number}\n") for number in range(4)]
    for other in others:
        other.language = "Go"
    source = write_source(tmp_path / "source", [*documents(), *others, document(path="empty.py", text="")])
    texts = read_texts(source, 10, seed=0)
    assert sorted(texts["Python"]) == sorted(each.text for each in documents())
    assert sorted(texts["Go"]) == sorted(each.text for each in others)
    assert list(texts) == ["Go", "Python"] and len(texts["Go"]) == 4
    one = write_rows([stack_row(each) for each in others], tmp_path / "one.parquet")
    assert sorted(read_texts(one, 10, seed=0)["Go"]) == sorted(texts["Go"])


def test_a_sample_is_bounded_and_a_function_of_the_seed(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    taken = [list(read_texts(source, 0.01, seed)["Python"]) for seed in (0, 0, 1)]
    assert taken[0] == taken[1] != taken[2]
    assert 8_000 < sum(map(len, taken[0])) <= 10_000


@pytest.mark.usefixtures("plain")
def test_of_a_corpus_one_split_is_read(tmp_path: Path) -> None:
    prepare(configure("environment"), tmp_path / "corpus", write_environment(tmp_path / "python"))
    entries, _ = load_entries(tmp_path / "corpus/documents.parquet")
    for split in ("train", "test"):
        texts = read_texts(tmp_path / "corpus", 10, seed=0, split=split)
        assert len(texts["Python"]) == sum(entry.split == split for entry in entries) > 0
    with pytest.raises(CorpusError, match="has no split 'dev'; it has test, train, valid"):
        read_texts(tmp_path / "corpus", 10, seed=0, split="dev")


@pytest.mark.usefixtures("plain")
def test_the_text_of_a_corpus_is_what_models_read_wherever_its_source_is_now(tmp_path: Path) -> None:
    mail = document("owner/mail", text=f'{code(90, 0)}\n\n# write to bob.smith@corp-mail.io\nnaive = "naïve 数 <|endoftext|>"\n')
    go = document("owner/go", "main.go", text=code(91, 0))
    go.language = "Go"
    held = [*documents(), mail, go]
    prepare(configure(str(write_source(tmp_path / "source", held)), languages=("all",)), tmp_path / "corpus")
    shutil.rmtree(tmp_path / "source")
    texts = [read_texts(tmp_path / "corpus", 10, seed=0, split=split) for split in ("train", "valid", "test")]
    found = sorted((language, text) for held_out in texts for language, each in held_out.items() for text in each)
    assert found == sorted((each.language, each.text.replace("bob.smith@corp-mail.io", "user1@example.com")) for each in held)
    part = list(read_texts(tmp_path / "corpus", 0.01, seed=0)["Python"])
    assert 8_000 < sum(map(len, part)) <= 10_000


def test_a_corpus_that_does_not_list_its_documents_is_refused(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"does not say which documents it holds \(it has no documents.parquet\); give the text"):
        read_texts(corpus.path, 10, seed=0)


def test_a_folder_of_code_is_read_by_its_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {
        "a.py": b"x = 1\n", "deep/er/b.PY": b"y = 2\n", "c.go": b"package c\n", "notes.txt": b"no code", "latin.py": "é".encode("latin-1"),
        "large.py": b"#" * 1_000_001, "empty.py": b"", "nul.py": b"\0", "node_modules/d.py": b"copied", os.fsdecode(b"caf\xe9.py"): b"x",
    }  # fmt: skip
    source = write(tmp_path / "code", files)
    (source / "link.py").symlink_to(source / "a.py")
    with caplog.at_level(logging.WARNING, "codenas"):
        texts = read_texts(source, 10, seed=0)
    assert {language: sorted(held) for language, held in texts.items()} == {"Go": ["package c\n"], "Python": ["x = 1\n", "y = 2\n"]}
    reasons = "1 binary, 1 not UTF-8, 1 too large, 1 unprintable name, 1 vendored copy"
    assert caplog.messages == [f"{source}: 5 documents are left out ({reasons})"]
    many = write(tmp_path / "many", {f"{number}.py": f"number_{number} = {number}\n".encode() * 40 for number in range(50)})
    bounded = [sorted(read_texts(many, 0.01, seed)["Python"]) for seed in (0, 0, 1)]
    assert bounded[0] == bounded[1] != bounded[2] and 8_000 < sum(map(len, bounded[0])) <= 10_000


def test_of_a_checkout_what_git_ignores_is_passed_over(tmp_path: Path) -> None:
    source = write(tmp_path / "code", {"a.py": b"x = 1\n", "built.py": b"y = 2\n", ".gitignore": b"built.py\n"})
    subprocess.run(["git", "init", "-q", source], check=True)
    assert list(read_texts(source, 10, seed=0)["Python"]) == ["x = 1\n"]


def test_of_a_folder_that_holds_parquet_too_the_code_is_read_where_that_is_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "code", {"a.py": b"x = 1\n"})
    pq.write_table(pa.table({"year": [2026]}), source / "table.parquet")
    with pytest.raises(CorpusError, match="it has year; take it out of the source, or give code:FOLDER for the code of a folder"):
        read_texts(source, 10, seed=0)
    assert list(read_texts(Path(f"code:{source}"), 10, seed=0)["Python"]) == ["x = 1\n"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no source .*code; give a prepared corpus, parquet in The Stack v1 schema, or a folder of code"),
        ({}, "the source .*code is empty: it has 0 documents with text"),
        ({"notes.txt": b"x", "empty.py": b""}, "the source .*code is empty"),
        ({"broken.parquet": b"x"}, "broken.parquet is not a whole parquet file"),
    ],
)
def test_a_source_without_text_is_refused(tmp_path: Path, files: dict[str, bytes] | None, message: str) -> None:
    if files is not None:
        write(tmp_path / "code", files).mkdir(exist_ok=True)
    with pytest.raises(CorpusError, match=message):
        read_texts(tmp_path / "code", 10, seed=0)


def test_a_row_group_that_is_broken_inside_is_named(tmp_path: Path) -> None:
    file = write_rows([stack_row(each) for each in documents()], tmp_path / "source.parquet", row_group=60)
    content = bytearray(file.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    file.write_bytes(content)
    with pytest.raises(CorpusError, match="source.parquet"):
        read_texts(file, 10, seed=0)


def test_texts_are_a_sequence_that_travels(tmp_path: Path) -> None:
    texts = read_texts(write_source(tmp_path / "source"), 10, seed=0)["Python"]
    again = pickle.loads(pickle.dumps(texts))  # noqa: S301 - as Ray sends them
    assert list(again) == list(texts) == [texts[index] for index in range(len(texts))]
    assert list(texts[2:5]) == [texts[2], texts[3], texts[4]]
