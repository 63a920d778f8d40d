"""Sources of every kind that have changed since: an update gives what a fresh run gives, and processes only what is new."""

import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem

from codenas.corpus import Corpus
from codenas.errors import CorpusError
from data_prep import pipeline, stages
from data_prep.pipeline import prepare
from data_prep.sources import locations
from data_prep.sources.locations import Remote
from data_prep.sources.parquet import parquet_files
from data_prep.sources.row_groups import list_row_groups, same_row_groups
from tests.data_prep.example_documents import code, documents, write_source
from tests.data_prep.places import Place
from tests.data_prep.sources.test_file_sources import OWN, write_code
from tests.data_prep.sources.test_locations import files, place
from tests.data_prep.sources.test_packages import listing, sha256, wheel
from tests.data_prep.sources.test_schemas import V2
from tests.data_prep.test_pipeline import configure, content
from tests.data_prep.test_resume import processed

__all__ = ["files", "place", "processed"]  # fixtures


def same_corpus(one: Corpus, other: Corpus) -> bool:
    return content(one.path) == content(other.path)


@pytest.fixture
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sources.parquet.ROW_GROUP_BYTES", 8_000)


@pytest.mark.usefixtures("plain", "small_row_groups")
def test_a_folder_of_code_that_has_grown_is_processed_from_the_first_part_on_that_differs(
    tmp_path: Path, processed: list[tuple[str, int, int]]
) -> None:
    source = write_code(tmp_path / "mine")
    prepare(configure(source, **OWN, vocabularies=["char"]), tmp_path / "corpus")
    known = len(processed)
    processed.clear()
    (source / "part_10/more.py").write_text(code(10, 7))
    assert prepare(configure(source, **OWN), tmp_path / "corpus").manifest.stages["found"].documents == 38
    after = prepare(configure(source, **OWN), tmp_path / "corpus", update=True)
    assert 0 < len(processed) < known / 2
    assert after.manifest.stages["found"].documents == 39 and after.vocabularies == ("char",)
    assert same_corpus(after, prepare(configure(source, **OWN, vocabularies=["char"]), tmp_path / "fresh"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("plain")
def test_pinned_packages_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processed: list[tuple[str, int, int]]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache/codenas/packages"
    cache.mkdir(parents=True)
    held = {f"p{part}-1-py3-none-any.whl": wheel(f"p{part}", {f"p{part}/a.py": code(part, 0).encode()}) for part in range(12)}
    for name, data in held.items():
        (cache / f"{sha256(data)}-{name}").write_bytes(data)
    config = configure(f"pypi:{listing(tmp_path, held)}")
    before = content(prepare(config, tmp_path / "corpus").path)
    processed.clear()
    monkeypatch.delattr(pipeline, "_build")
    assert content(prepare(config, tmp_path / "corpus", update=True).path) == before and not processed
    more = config.model_copy(update={"vocabularies": ("char",)})
    assert prepare(more, tmp_path / "corpus", update=True).vocabularies == ("char",)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("plain", "small_row_groups")
def test_an_update_takes_another_list_of_packages_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processed: list[tuple[str, int, int]]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache/codenas/packages"
    cache.mkdir(parents=True)
    held = {f"p{part}-1-py3-none-any.whl": wheel(f"p{part}", {f"p{part}/a.py": code(part, 0).encode()}) for part in range(10, 22)}
    for name, data in held.items():
        (cache / f"{sha256(data)}-{name}").write_bytes(data)
    source = f"pypi:{listing(tmp_path, dict(list(held.items())[:-1]))}"
    prepare(configure(source), tmp_path / "corpus")
    before, known = content(tmp_path / "corpus"), len(processed)
    listing(tmp_path, held)
    with pytest.raises(
        CorpusError, match=r"holds a corpus of another list of packages; use --update for pypi:.*list.txt, or choose another"
    ):
        prepare(configure(source), tmp_path / "corpus")
    with pytest.raises(CorpusError, match="holds a corpus of other settings"):
        prepare(configure(source, seed=1), tmp_path / "corpus", update=True)
    assert content(tmp_path / "corpus") == before
    processed.clear()
    after = prepare(configure(source), tmp_path / "corpus", update=True)
    assert after.manifest.stages["found"].documents == 12 and 0 < len(processed) < known / 2
    assert same_corpus(after, prepare(configure(source), tmp_path / "fresh"))
    (tmp_path / "list.txt").write_text((tmp_path / "list.txt").read_text() + "# a comment\n")
    again = prepare(configure(source), tmp_path / "corpus", update=True)
    assert again.manifest.digest == after.manifest.digest and prepare(configure(source), tmp_path / "corpus").manifest == again.manifest


@pytest.mark.usefixtures("plain")
def test_an_update_that_is_killed_gathers_what_has_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_code(tmp_path / "mine")
    prepare(configure(source, **OWN), tmp_path / "corpus")
    (source / "part_10/more.py").write_text(code(10, 7))
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source, **OWN), tmp_path / "corpus", update=True)
    (source / "part_10/other.js").write_text("let x = 1\n")  # of no wanted language: it is in the loaded alone
    after = prepare(configure(source, **OWN), tmp_path / "corpus", update=True)
    assert after.manifest.stages["found"].documents == 40
    assert same_corpus(after, prepare(configure(source, **OWN), tmp_path / "fresh"))


@pytest.mark.usefixtures("plain")
def test_a_folder_with_too_little_code_is_looked_at_again_once_it_has_more(tmp_path: Path) -> None:
    source = write_code(tmp_path / "all")
    (tmp_path / "mine").mkdir()
    (source / "part_00").rename(tmp_path / "mine/part_00")
    with pytest.raises(CorpusError, match="give a source with more files"):
        prepare(configure(tmp_path / "mine", **OWN), tmp_path / "corpus")
    shutil.copytree(source, tmp_path / "mine", dirs_exist_ok=True)
    corpus = prepare(configure(tmp_path / "mine", **OWN), tmp_path / "corpus")
    assert same_corpus(corpus, prepare(configure(tmp_path / "mine", **OWN), tmp_path / "fresh"))


@pytest.mark.usefixtures("plain")
def test_an_interrupted_run_over_the_same_code_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_code(tmp_path / "mine")
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source, **OWN), tmp_path / "corpus")
    with monkeypatch.context() as decided:
        decided.delattr(stages, "dedup_and_split")
        corpus = prepare(configure(source, **OWN), tmp_path / "corpus")
    assert same_corpus(corpus, prepare(configure(source, **OWN), tmp_path / "fresh"))


@pytest.mark.usefixtures("plain")
def test_code_that_became_parquet_before_the_corpus_was_finished_is_read_as_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_code(tmp_path / "mine")
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source, **OWN), tmp_path / "corpus")
    shutil.rmtree(source)
    write_source(source)
    corpus = prepare(configure(source, **OWN, vocabularies=["char"]), tmp_path / "corpus")
    assert same_corpus(corpus, prepare(configure(source, **OWN, vocabularies=["char"]), tmp_path / "fresh"))


@pytest.mark.usefixtures("plain")
def test_a_text_of_v2_that_is_brought_later_comes_in_with_an_update(tmp_path: Path) -> None:
    """Its row group is the same, and the verdict on it was that there is no text."""
    held = documents(12, 2)
    blobs = {sha256(one.data)[:40]: one for one in held}
    rows = [
        V2 | {"repo_name": one.repository, "path": one.path, "blob_id": blob, "length_bytes": len(one.data)} for blob, one in blobs.items()
    ]
    folder = tmp_path / "source/content"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "source/a.parquet")
    for blob, one in blobs.items():
        (folder / blob).write_bytes(gzip.compress(one.data))
    late = next(iter(blobs))
    (folder / late).rename(tmp_path / late)
    before = prepare(configure(tmp_path / "source"), tmp_path / "corpus").manifest
    assert before.bad_rows == before.drops["no text"].documents == 1
    (tmp_path / late).rename(folder / late)
    after = prepare(configure(tmp_path / "source"), tmp_path / "corpus", update=True)
    assert after.manifest.bad_rows == 0
    assert same_corpus(after, prepare(configure(tmp_path / "source"), tmp_path / "fresh"))


def forget_connections() -> None:
    """What another process, which comes later, does not know."""
    locations._footer.cache_clear()
    HfFileSystem.clear_instance_cache()


def test_files_on_another_machine_are_told_by_their_version_and_not_read(
    place: tuple[Remote, Place], files: dict[str, bytes], tmp_path: Path
) -> None:
    root, server = place
    before = list_row_groups(parquet_files(root), root)
    assert sum(size for _, _, size in server.asked) < sum(map(len, files.values())) / 2
    assert same_row_groups(before, parquet_files(root), root)
    name = "data/python/1.parquet"
    files[name] = files[name].replace(b"computed_value", b"computed_eulav")  # of the same size
    forget_connections()
    after = list_row_groups(parquet_files(root), root)
    assert after.sizes == before.sizes and not same_row_groups(before, parquet_files(root), root)
    assert {file for file, _ in dict(after.digests.items() - before.digests.items())} == {"python/1.parquet"}


def test_where_another_machine_tells_no_version_its_files_are_read(
    place: tuple[Remote, Place], files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = place
    monkeypatch.setattr("data_prep.sources.row_groups.version_of", lambda _: "")
    for name, data in files.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(data)
    here = tmp_path / "here/data"
    assert list_row_groups(parquet_files(root), root) == list_row_groups(parquet_files(here), here)
