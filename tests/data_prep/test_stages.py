"""Near-duplicates, benchmarks, redaction and opt-out in the whole stage, each switched on and off."""

import json
from pathlib import Path

import pytest

from codenas.corpus import Corpus, Redacted, Tally
from codenas.errors import ConfigError
from codenas.vocab import load_vocabulary
from data_prep.document import Document
from data_prep.entry_table import load_entries
from data_prep.pipeline import prepare
from data_prep.sources.parquet import stack_row
from tests.data_prep.example_documents import code, document, documents, write_rows, write_source
from tests.data_prep.rules.test_decontaminate import HUMANEVAL, MBPP
from tests.data_prep.test_pipeline import configure, content

CONTACT = '"""Written by Ann, ann@mail.org."""\nHOST = "99.100.101.102"\n'
OFF = {"near_dedup": {"enabled": False}, "redact": False}


def texts(corpus: Corpus) -> list[bytes]:
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    return [vocabulary.decode(ids.tolist()) for split in corpus.manifest.splits for ids in corpus.split(split).documents()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Clean documents, and one for each of the rules."""
    held: list[Document] = documents()
    held += [document("fork/one", "a.py", code(50, 0, 24)), document("fork/two", "a.py", code(50, 0, 24) + "# changed\n")]
    held += [document("leak/one", "a.py", code(51, 0) + "def f(a):\n" + str(HUMANEVAL["canonical_solution"]))]
    held += [document("ann/one", "a.py", CONTACT + code(52, 0)), document("bob/one", "a.py", code(53, 0))]
    return write_source(tmp_path / "source", held)


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "bench.jsonl").write_text(json.dumps(HUMANEVAL) + "\n" + json.dumps(MBPP) + "\n")
    (tmp_path / "list.txt").write_text("bob\n")
    return {"decontaminate": [str(tmp_path / "bench.jsonl")], "opt_out": str(tmp_path / "list.txt")}


@pytest.mark.usefixtures("plain")
def test_every_drop_and_every_replacement_is_counted(source: Path, everything: dict[str, object], tmp_path: Path) -> None:
    corpus = prepare(configure(source, **everything), tmp_path / "corpus")
    manifest, (entries, statistics) = corpus.manifest, load_entries(corpus.path / "documents.parquet")
    assert {reason: tally.documents for reason, tally in manifest.drops.items()} == {
        "benchmark text": 1, "near-duplicate": 1, "opted out": 1,
    }  # fmt: skip
    assert manifest.drops["opted out"] == Tally(documents=1, bytes=len(code(53, 0)))
    assert list(manifest.stages) == ["found", "licensed", "sampled", "filtered", "unique", "near-unique"]
    assert manifest.stages["near-unique"].documents == len(entries) == manifest.stages["found"].documents - 3
    assert [entry.repository for entry in entries if "fork" in entry.repository] == ["fork/two"]  # the longer
    assert [(match.repository, match.found) for match in statistics.benchmarks] == [("leak/one", "HumanEval/900 solution")]
    assert json.loads((corpus.path / "ledger.json").read_text())["benchmarks"][0]["matched"] == statistics.benchmarks[0].matched
    one = Redacted(values=1, documents=1)
    assert manifest.redacted == {
        "e-mail": one,
        "ip address": one,
        "key": Redacted(values=0, documents=0),
        "all": Redacted(values=2, documents=1),
    }
    held = texts(corpus)
    assert sum(b"user1@example.com" in text and b"192.0.2.1" in text for text in held) == 1
    assert not any(b"ann@mail.org" in text or b"99.100.101.102" in text for text in held)
    assert sum(map(len, held)) == sum(entry.size for entry in entries)


@pytest.mark.usefixtures("plain")
def test_all_of_it_can_be_left_out(source: Path, tmp_path: Path) -> None:
    corpus = prepare(configure(source, **OFF), tmp_path / "corpus")
    assert corpus.manifest.drops == {} and corpus.manifest.redacted == {}
    assert list(corpus.manifest.stages)[-1] == "unique"
    assert any(b"ann@mail.org" in text for text in texts(corpus))


@pytest.mark.usefixtures("plain")
def test_more_vocabularies_are_redacted_too(source: Path, everything: dict[str, object], tmp_path: Path) -> None:
    prepare(configure(source, **everything), tmp_path / "corpus")
    corpus = prepare(configure(source, **everything, vocabularies=["char"]), tmp_path / "corpus")
    other = texts(corpus.with_vocabulary("char"))
    assert sorted(other) == sorted(texts(corpus)) and not any(b"ann@mail.org" in text for text in other)


@pytest.mark.usefixtures("plain")
def test_the_copy_with_the_most_stars_stays(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    rows = [stack_row(document(f"fork/{number}", "a.py", code(50, 0, 24) + f"# {number}\n")) for number in range(3)]
    write_rows([row | {"max_stars_count": stars} for row, stars in zip(rows, (None, 7, 3), strict=True)], source / "more.parquet")
    entries, _ = load_entries(prepare(configure(source), tmp_path / "corpus").path / "documents.parquet")
    assert [entry.repository for entry in entries if "fork" in entry.repository] == ["fork/1"]


@pytest.mark.usefixtures("plain")
def test_the_content_of_the_files_counts_and_not_their_names(source: Path, everything: dict[str, object], tmp_path: Path) -> None:
    corpus = prepare(configure(source, **everything), tmp_path / "corpus")
    (tmp_path / "list.txt").rename(tmp_path / "renamed.txt")
    with pytest.raises(ConfigError, match=r"list.txt cannot be read: No such file or directory; name a file that exists"):
        prepare(configure(source, **everything), tmp_path / "corpus")
    renamed = configure(source, **{**everything, "opt_out": str(tmp_path / "renamed.txt")})
    assert prepare(renamed, tmp_path / "corpus").manifest == corpus.manifest
    before = renamed.digest
    (tmp_path / "renamed.txt").write_text("bob\nann\n")
    assert renamed.digest != before
    assert "ann/one" not in content_repositories(prepare(renamed, tmp_path / "other"))
    assert content(tmp_path / "other") != content(tmp_path / "corpus")


def content_repositories(corpus: Corpus) -> set[str]:
    entries, _ = load_entries(corpus.path / "documents.parquet")
    return {entry.repository for entry in entries}


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("field", ["opt_out", "decontaminate"])
def test_a_missing_file_is_refused_before_anything_is_made(field: str, source: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match=r"absent.jsonl cannot be read: No such file"):
        prepare(configure(source, **{field: absent if field == "opt_out" else [absent]}), tmp_path / "corpus")
    assert not list(tmp_path.glob("*corpus*"))
