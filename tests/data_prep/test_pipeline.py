"""The whole stage: on a real Ray, killed at any moment, with bad input."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from codenas.cli.options import settings_of
from codenas.corpus import Corpus
from codenas.errors import ConfigError, CorpusError, ResourceError, RunError
from codenas.files import folder_lock
from codenas.vocab import load_vocabulary
from data_prep import pipeline, stages
from data_prep.config import PrepareConfig
from data_prep.entry_table import load_entries
from data_prep.pipeline import prepare
from data_prep.process import DocumentProcessor, process
from data_prep.units import Unit
from tests.data_prep.example_documents import code, document, documents, install, plain_stream, write_environment, write_rows, write_source
from tests.data_prep.sources.test_schemas import V2

SETTINGS = {"vocab_size": 400, "valid_share": 0.1, "test_share": 0.1}
MORE = {**SETTINGS, "vocabularies": ["char", "bpe-300"]}


def content(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("stack") / "source")


def configure(source: Path | str, **changes: object) -> PrepareConfig:
    return settings_of(PrepareConfig, {**SETTINGS, "source": str(source), **changes})


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_any_number_of_workers_gives_the_bytes_of_one_after_the_other(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = [prepare(configure(source, workers=workers), tmp_path / str(workers)) for workers in (1, 2, None)]
    monkeypatch.setattr(pipeline, "_stream", plain_stream)
    corpora.append(prepare(configure(source), tmp_path / "plain"))
    assert len({json.dumps(content(corpus.path)) for corpus in corpora}) == 1
    corpora[0].verify()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_cannot_do_without_is_told_in_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([V2]), tmp_path / "a.parquet")  # the folder of its texts has gone meanwhile
    work = partial(process, root=tmp_path, processor=DocumentProcessor.of(configure(tmp_path)))
    with pytest.raises(CorpusError, match="a.parquet is of The Stack v2, which has metadata without texts") as caught:
        list(pipeline._stream([Unit("a.parquet", 0, [0], [""])], work, workers=1))
    assert "\n" not in str(caught.value)


def dies(units: pa.Table, deaths: Path, most: int) -> pa.Table:
    """Kills its worker where fewer than `most` have died."""
    if (number := len(list(deaths.iterdir()))) < most:
        (deaths / str(number)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return units


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_that_died_had_to_do_is_done_by_another(tmp_path: Path) -> None:
    units = [Unit("a.parquet", number, [0], [""]) for number in range(3)]
    done = pipeline._stream(units, partial(dies, deaths=tmp_path, most=1), workers=1)
    assert Unit.from_table(pa.concat_tables(done)) == units


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_kill_every_worker_end_the_job_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_RETRIES", 1)
    with pytest.raises(ResourceError, match="a worker died 2 times on the same rows") as caught:
        list(pipeline._stream([Unit("a.parquet", 0, [0], [""])], partial(dies, deaths=tmp_path, most=9), workers=1))
    assert "\n" not in str(caught.value) and len(list(tmp_path.iterdir())) == 2


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_the_environment_becomes_a_corpus_wherever_it_is_installed(tmp_path: Path) -> None:
    corpora = []
    for place in ("here", "some/where/else"):
        environment = write_environment(tmp_path / place)
        latin = {"bad/latin.py": "# é\n".encode("latin-1"), "bad/empty.py": b"", "bad/copy.py": code(3, 1).encode()}
        install(tmp_path / place / "lib/python3.11/site-packages", "bad", latin)
        corpora.append(prepare(configure("environment"), tmp_path / place / "corpus", environment))
    assert content(corpora[0].path) == content(corpora[1].path)
    manifest = corpora[0].manifest
    assert {reason: tally.documents for reason, tally in manifest.drops.items()} == {
        "duplicate": 1, "empty": 1, "licence": 1, "not UTF-8": 1, "tests": 1,
    }  # fmt: skip
    assert list(manifest.stages) == ["found", "licensed", "sampled", "filtered", "unique", "near-unique"]
    assert (
        manifest.stages["found"].documents
        == sum(tally.documents for tally in manifest.drops.values()) + manifest.stages["near-unique"].documents
    )
    assert manifest.licences.keys() == {"MIT", "PSF-2.0"}
    assert (corpora[0].path / "source/environment.parquet").is_file()


@pytest.mark.usefixtures("plain")
def test_the_splits_hold_the_documents_and_share_no_repository(source: Path, tmp_path: Path) -> None:
    corpus = prepare(configure(source), tmp_path / "corpus")
    entries, _ = load_entries(corpus.path / "documents.parquet")
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    assert vocabulary.digest == corpus.manifest.vocab_digest
    assert load_vocabulary(corpus.path / "vocab-char.json").size >= 262
    texts = {one.path + one.repository: one.data for one in documents()}
    repositories = []
    for split, info in corpus.manifest.splits.items():
        members = [entry for entry in entries if entry.split == split]
        decoded = [vocabulary.decode(ids.tolist()) for ids in corpus.split(split).documents()]
        assert sorted(decoded) == sorted(texts[entry.path + entry.repository] for entry in members)
        assert info.documents == len(members) and info.bytes == sum(map(len, decoded))
        repositories.append({entry.repository for entry in members})
        assert info.repositories == len(repositories[-1]) > 0
    assert len(set.union(*repositories)) == sum(map(len, repositories)) == 20


@pytest.mark.usefixtures("plain")
def test_a_finished_corpus_is_returned_at_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(configure(source), tmp_path / "corpus")
    monkeypatch.delattr(pipeline, "_build")
    again = prepare(configure(source, workers=2), tmp_path / "corpus")
    assert again.manifest == first.manifest


@pytest.mark.usefixtures("plain")
def test_other_settings_do_not_overwrite_a_corpus(source: Path, tmp_path: Path) -> None:
    prepare(configure(source), tmp_path / "corpus")
    before = content(tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"holds a corpus of other settings .*choose another --output"):
        prepare(configure(source, seed=1), tmp_path / "corpus")
    assert content(tmp_path / "corpus") == before


@pytest.mark.usefixtures("plain")
def test_a_folder_of_something_else_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match=r"exists and is not a corpus"):
        prepare(configure(source), tmp_path / "corpus")
    assert (tmp_path / "corpus/thesis.txt").read_text() == "years of work"


@pytest.mark.usefixtures("plain")
def test_an_empty_folder_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    assert prepare(configure(source), tmp_path / "corpus").manifest.splits["train"].documents > 0


@pytest.mark.usefixtures("plain")
def test_a_folder_in_use_is_left_alone(source: Path, tmp_path: Path) -> None:
    with folder_lock(tmp_path / ".corpus.part"), pytest.raises(RunError, match=rf"in use by process {os.getpid()}"):
        prepare(configure(source), tmp_path / "corpus")


def test_ray_must_be_running(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ResourceError, match=r"needs a running Ray.*codenas prepare"):
        prepare(configure(source), tmp_path / "corpus")


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("rows", "message"),
    [(0, r"^nothing of the source .* can be used: 0 files of code were found; give"), (1, "no repository fits into valid and test: 1 rep")],
)
def test_a_source_too_small_to_split_is_refused(rows: int, message: str, tmp_path: Path) -> None:
    write_source(tmp_path / "source", documents(1, 1)[:rows], files=1)
    with pytest.raises(CorpusError, match=message):
        prepare(configure(tmp_path / "source"), tmp_path / "corpus")
    assert [path.name for path in tmp_path.iterdir()] == ["source"], "what the same settings cannot finish is removed"


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("options", "reasons"),
    [({"languages": ["go"]}, "language 60"), ({"filters": {"lines": 1}}, "long lines 60"), ({"licences": ["ISC"]}, "licence 60")],
)
def test_where_nothing_is_left_the_line_says_why(options: dict[str, object], reasons: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=rf"nothing of the source .* 60 files of code were found and left out \({reasons}\); widen --lang"
    ):
        prepare(configure(source, **options), tmp_path / "corpus")


@pytest.mark.usefixtures("plain")
def test_rows_without_a_name_are_counted(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    write_rows([{"content": "x = 1\n", "size": 6, "max_stars_repo_path": "a.py"}], source / "more.parquet")
    assert prepare(configure(source), tmp_path / "corpus").manifest.drops["no name"].documents == 1


@pytest.mark.usefixtures("plain")
def test_one_file_may_be_the_source(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", files=1)
    whole = prepare(configure(source), tmp_path / "folder")
    alone = prepare(configure(source / "data/train-00000-of-00001.parquet"), tmp_path / "file")
    assert whole.manifest.digest == alone.manifest.digest


@pytest.mark.usefixtures("plain")
def test_a_fork_is_not_held_out(tmp_path: Path) -> None:
    lines = [f"result_{number} = compute_something_long_enough(argument_number_{number}, 0)" for number in range(60)]
    held = documents(20)
    held += [document(f"owner/fork-{number}", f"a{number}.py", "\n".join([*lines, f"# {number}" * 40]) + "\n") for number in range(12)]
    corpus = prepare(configure(write_source(tmp_path / "source", held)), tmp_path / "corpus")
    entries, _ = load_entries(corpus.path / "documents.parquet")
    assert {entry.split for entry in entries if "fork" in entry.repository} == {"train"}


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_more_vocabularies_hold_the_same_documents_and_splits(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = prepare(configure(source, **MORE), tmp_path / "corpus")
    own = load_vocabulary(corpus.tokenizer_path)
    assert corpus.vocabularies == ("bpe-300", "char")
    for name in corpus.vocabularies:
        other = corpus.with_vocabulary(name)
        other.verify()
        named = load_vocabulary(other.tokenizer_path)
        assert named.digest == other.manifest.vocab_digest and named.size == other.manifest.vocab_size
        for split in corpus.manifest.splits:
            documents = [own.decode(ids.tolist()) for ids in corpus.split(split).documents()]
            assert [named.decode(ids.tolist()) for ids in other.split(split).documents()] == documents
    assert load_vocabulary(corpus.path / "vocabularies/bpe-300/tokenizer.json").size == 300
    monkeypatch.setattr(pipeline, "_stream", plain_stream)
    assert made(prepare(configure(source, **MORE), tmp_path / "plain").path) == made(corpus.path)


def made(folder: Path) -> dict[str, str]:
    """`content` without what `Corpus.verify` remembers."""
    return {name: found for name, found in content(folder).items() if not name.endswith(".verified.json")}


@pytest.mark.usefixtures("plain")
def test_a_finished_corpus_gets_more_vocabularies_and_keeps_what_it_has(source: Path, tmp_path: Path) -> None:
    before = content(prepare(configure(source), tmp_path / "corpus").path)
    assert stages.find_complete_corpus(configure(source, **MORE), tmp_path / "corpus") is None
    with_char = content(prepare(configure(source, vocabularies=["char"]), tmp_path / "corpus").path)
    both = content(prepare(configure(source, **MORE), tmp_path / "corpus").path)
    assert before.items() < with_char.items() < both.items()
    assert both == content(prepare(configure(source, **MORE), tmp_path / "at once").path)
    for fewer in ([], ["bpe-300"]):
        assert stages.find_complete_corpus(configure(source, vocabularies=fewer), tmp_path / "corpus") is not None
    assert not list(tmp_path.glob(".*")) and not list((tmp_path / "corpus/vocabularies").glob(".*"))


@pytest.mark.usefixtures("plain")
def test_the_environment_of_a_finished_corpus_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed may have changed since: the source that was kept counts."""
    prepare(configure("environment"), tmp_path / "corpus", write_environment(tmp_path / "here"))
    monkeypatch.delattr(stages, "convert")
    corpus = prepare(configure("environment", vocabularies=["char"]), tmp_path / "corpus")
    assert corpus.with_vocabulary("char").manifest.splits["train"].documents == corpus.manifest.splits["train"].documents


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("gone", ["source", "documents"])
def test_what_more_vocabularies_are_made_of_must_be_there(gone: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    corpus = prepare(configure(source), tmp_path / "corpus")
    path = source if gone == "source" else corpus.path / "documents.parquet"
    path.rename(tmp_path / "elsewhere")
    for ask in (stages.find_complete_corpus, prepare):
        with pytest.raises(CorpusError, match=f"{path} is missing, and more vocabularies of {corpus.path} need it; restore it"):
            ask(configure(source, vocabularies=["char"]), corpus.path)
    assert prepare(configure(source), corpus.path).manifest == corpus.manifest


@pytest.mark.usefixtures("plain")
def test_a_source_that_has_changed_gives_no_other_vocabulary(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    corpus = prepare(configure(source), tmp_path / "corpus")
    longer = [document(one.repository, one.path, one.text + "x = 1\n") for one in documents()]
    write_source(source, longer)
    with pytest.raises(CorpusError, match=r"the source .* has changed: split '\w+' had [\d,]+ bytes and has [\d,]+; restore it"):
        prepare(configure(source, vocabularies=["char"]), corpus.path)
    assert corpus.vocabularies == ()


@pytest.mark.usefixtures("plain")
def test_a_vocabulary_that_is_broken_is_named(source: Path, tmp_path: Path) -> None:
    corpus = prepare(configure(source, **MORE), tmp_path / "corpus")
    tokenizer = corpus.with_vocabulary("char").tokenizer_path
    tokenizer.unlink()
    with pytest.raises(CorpusError, match=f"{tokenizer} is missing; remove {tokenizer.parent} and prepare {corpus.path} again"):
        prepare(configure(source, **MORE), corpus.path)
    for file in sorted(tokenizer.parent.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    tokenizer.parent.rmdir()
    assert prepare(configure(source, **MORE), corpus.path).with_vocabulary("char").tokenizer_path == tokenizer


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["words"], "--vocabularies words is refused: .*bpe-"),
        (["bpe-261"], "'bpe-261': a byte-level BPE has 262 to 1,048,576 ids"),
        (["bpe-9999999"], "'bpe-9999999': a byte-level BPE has"),
        (["char", "char"], "'char' stands twice"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("environment", vocabularies=names)


KILLED = """
import os, signal, sys
from pathlib import Path
import ray
from codenas.cli.options import settings_of
from codenas.corpus import ShardWriter
from data_prep import pipeline
from data_prep.config import PrepareConfig
from tests.data_prep.example_documents import plain_stream

source, output, settings, calls = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3]), int(sys.argv[4])
pipeline._stream, ray.is_initialized = plain_stream, lambda: True

def counted(real):
    def call(*arguments, **options):
        global calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

for module, name in ((os, "replace"), (os, "fsync"), (ShardWriter, "append"), (pipeline.shutil, "rmtree")):
    setattr(module, name, counted(getattr(module, name)))
pipeline.prepare(settings_of(PrepareConfig, {**settings, "source": source}), output)
"""


def run_killed(source: Path, output: Path, calls: int, settings: dict[str, Any] = SETTINGS) -> int:
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", KILLED, str(source), str(output), repr(settings), str(calls)]
    return subprocess.run(arguments, cwd=root, capture_output=True).returncode


@pytest.mark.usefixtures("plain")
def test_killed_again_and_again_it_ends_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    """SIGKILL at the n-th write to the disk, for growing n; what an earlier call finished is there for the next one."""
    undisturbed = prepare(configure(source), tmp_path / "undisturbed")
    codes = [run_killed(source, tmp_path / "corpus", calls) for calls in (1, 4, 7, 9, 12, 16)]
    assert codes.count(-signal.SIGKILL) >= 4
    assert content(prepare(configure(source), tmp_path / "corpus").path) == content(undisturbed.path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("plain")
def test_killed_while_vocabularies_are_added_it_ends_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    undisturbed = prepare(configure(source, **MORE), tmp_path / "undisturbed")
    prepare(configure(source), tmp_path / "corpus")
    codes = [run_killed(source, tmp_path / "corpus", calls, MORE) for calls in (1, 5, 9, 14)]
    assert codes.count(-signal.SIGKILL) >= 3
    assert content(prepare(configure(source, **MORE), tmp_path / "corpus").path) == content(undisturbed.path)


@pytest.mark.usefixtures("plain")
def test_finished_pieces_are_not_made_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus")
    for name in ("process", "Char"):
        monkeypatch.delattr(stages, name)
    assert Corpus.open(prepare(configure(source), tmp_path / "corpus").path).manifest.splits["train"].tokens > 0


@pytest.mark.usefixtures("plain")
def test_pieces_of_other_settings_are_not_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source, seed=5), tmp_path / "corpus")
    undisturbed = prepare(configure(source), tmp_path / "undisturbed")
    assert content(prepare(configure(source), tmp_path / "corpus").path) == content(undisturbed.path)
