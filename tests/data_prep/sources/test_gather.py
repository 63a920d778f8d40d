"""Sources of every kind through the whole stage."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codenas.corpus import Corpus
from codenas.errors import ConfigError, CorpusError, ResourceError
from data_prep import stages
from data_prep.config import PrepareConfig
from data_prep.ledger import load_entries
from data_prep.pipeline import prepare
from data_prep.sources.gather import gatherer_of
from tests.data_prep.example_documents import code, write_source
from tests.data_prep.sources.test_packages import HELD, listing, sha256, wheel
from tests.data_prep.sources.test_schemas import STARCODER, V2
from tests.data_prep.test_pipeline import configure, content
from tests.data_prep.test_stages import texts

OWN = {"licences": ["any"]}


def write_code(folder: Path) -> Path:
    """Somebody's project in three languages, without a licence."""
    for part in range(12):
        place = folder / f"part_{part:02d}"
        place.mkdir(parents=True)
        for number in range(2):
            (place / f"module_{number}.py").write_text(code(part, number))
        (place / "main.go").write_text(f"package part{part}\n\nfunc main() {{ run({part}) }}\n" * 9)
    (folder / "latin.py").write_bytes("# é\n".encode("latin-1"))
    (folder / "view.js").write_text("let x = 1\n")
    return folder


@pytest.mark.usefixtures("plain")
def test_a_folder_of_code_becomes_a_corpus(tmp_path: Path) -> None:
    source = write_code(tmp_path / "mine")
    corpus = prepare(configure(source, **OWN), tmp_path / "corpus")
    assert {reason: tally.documents for reason, tally in corpus.manifest.drops.items()} == {"language": 13, "not UTF-8": 1}
    assert corpus.manifest.source == "code: mine"
    assert sorted(texts(corpus)) == sorted(code(part, number).encode() for part in range(12) for number in range(2))
    assert content(prepare(configure(f"code:{source}", **OWN), tmp_path / "again").path).keys() == content(corpus.path).keys()
    more = prepare(configure(source, **OWN, vocabularies=["char"]), tmp_path / "corpus")
    assert sorted(texts(more.with_vocabulary("char"))) == sorted(texts(corpus))


@pytest.mark.usefixtures("plain")
def test_languages_are_chosen(tmp_path: Path) -> None:
    source = write_code(tmp_path / "mine")
    corpus = prepare(configure(source, languages=["golang"], near_dedup={"enabled": False}, **OWN), tmp_path / "go")
    assert corpus.manifest.stages["unique"].documents == 12 and corpus.manifest.drops["language"].documents == 26
    everything = prepare(configure(source, languages=["all"], near_dedup={"enabled": False}, **OWN), tmp_path / "all")
    assert everything.manifest.stages["unique"].documents == 37


@pytest.mark.usefixtures("plain")
def test_where_nothing_is_left_the_reasons_and_the_ways_out_are_one_line(tmp_path: Path) -> None:
    source = write_code(tmp_path / "mine")
    told = (
        r"nothing of the source .*mine can be used: 38 files of code were found and left out \(language 13, licence 25\); .*--any-licence"
    )
    with pytest.raises(CorpusError, match=told):
        prepare(configure(source), tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"\(language 38\); widen --language \(it is Rust\)"):
        prepare(configure(source, languages=["rust"]), tmp_path / "other")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("no code")
    with pytest.raises(CorpusError, match="can be used: 0 files of code were found; give a folder of code or of parquet"):
        prepare(configure(tmp_path / "notes"), tmp_path / "third")


@pytest.mark.usefixtures("plain")
def test_starcoderdata_and_v2_become_the_same_texts(tmp_path: Path) -> None:
    held = [(f"owner/{part}", f"{number}.py", code(part, number)) for part in range(12) for number in range(2)]
    names = [{"max_stars_repo_name": repository, "max_stars_repo_path": path} for repository, path, _ in held]
    head = "<reponame>x<gh_stars>1\n"
    starcoder = [STARCODER | name | {"content": head + text} for name, (*_, text) in zip(names, held, strict=True)]
    ids = [V2 | {"repo_name": repository, "path": path, "blob_id": sha256(text.encode())[:40]} for repository, path, text in held]
    (tmp_path / "v2/content").mkdir(parents=True)
    (tmp_path / "starcoder").mkdir()
    for row, (*_, text) in zip(ids, held, strict=True):
        row["length_bytes"] = len(text)
        (tmp_path / "v2/content" / str(row["blob_id"])).write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist(starcoder), tmp_path / "starcoder/a.parquet")
    pq.write_table(pa.Table.from_pylist(ids), tmp_path / "v2/a.parquet")
    corpora = [prepare(configure(tmp_path / name), tmp_path / f"{name}-corpus") for name in ("starcoder", "v2")]
    for corpus in corpora:
        assert sorted(texts(corpus)) == sorted(text.encode() for *_, text in held)


@pytest.mark.usefixtures("plain")
def test_packages_become_a_corpus_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    held = {
        f"p{part}-1-py3-none-any.whl": wheel(f"p{part}", {f"p{part}/{n}.py": code(part, n).encode() for n in range(2)})
        for part in range(12)
    }
    held |= {"gpl-1.whl": wheel("gpl", {"a.py": code(20, 0).encode()}, "Metadata-Version: 2.4\nLicense-Expression: GPL-3.0-only\n")}
    held |= {"bad-1.tar.gz": HELD["two-1.tar.gz"][:-40]}
    path = listing(tmp_path, held)
    with pytest.raises(ResourceError, match=r"p0 1 cannot be fetched: no connection to the index"):
        prepare(configure(f"pypi:{path}"), tmp_path / "corpus")
    cache = tmp_path / "cache/codenas/packages"
    cache.mkdir(parents=True)
    for name, data in held.items():
        (cache / f"{sha256(data)}-{name}").write_bytes(data)
    corpus = prepare(configure(f"pypi:{path}"), tmp_path / "corpus")
    assert {reason: tally.documents for reason, tally in corpus.manifest.drops.items()} == {"broken archive": 1, "licence": 1}
    assert corpus.manifest.licences.keys() == {"MIT"} and corpus.manifest.source == "14 packages of list.txt"
    assert same_content(corpus, tmp_path, path)


def same_content(corpus: Corpus, folder: Path, path: Path) -> bool:
    """Whether the list counts by what is in it, wherever it lies."""
    moved = path.rename(folder / "elsewhere.txt")
    config = configure(f"pypi:{moved}")
    again = stages.existing(config, corpus.path)
    moved.write_text(moved.read_text() + f"more==1 --hash=sha256:{'0' * 64}\n")
    return again is not None and again.manifest == corpus.manifest and configure(f"pypi:{moved}").digest != corpus.manifest.config_digest


def test_what_is_parquet_is_not_gathered(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "script.py").write_text("x = 1\n")
    assert gatherer_of(configure(source)) is None
    assert gatherer_of(configure("hf://datasets/org/name")) is None
    assert gatherer_of(configure(f"code:{source}")) is not None
    assert gatherer_of(PrepareConfig()) is not None


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("ftp://host/x", CorpusError, "is in no place that is known here"),
        ("code:/nowhere", CorpusError, "there is no folder /nowhere"),
        ("pypi:/nowhere.txt", ConfigError, "nowhere.txt cannot be read: No such file"),
        ("/nowhere", CorpusError, "there is no source /nowhere"),
    ],
)
def test_a_source_that_cannot_be_is_refused_before_anything_is_made(
    source: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        stages.existing(configure(source), tmp_path / "corpus")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("plain")
def test_the_language_of_a_kept_document_is_known(tmp_path: Path) -> None:
    corpus = prepare(configure(write_code(tmp_path / "mine"), **OWN), tmp_path / "corpus")
    entries, _ = load_entries(corpus.path / "documents.parquet")
    assert {entry.path.rpartition(".")[2] for entry in entries} == {"py"}
