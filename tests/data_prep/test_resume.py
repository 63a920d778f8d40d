"""Only what is missing is done: after an interruption, and where the source has grown. Bad rows are put aside."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from codenas.corpus import Corpus
from codenas.errors import CorpusError
from codenas.seeds import stream
from data_prep import pipeline, process, stages
from data_prep.document import Document
from data_prep.pipeline import prepare
from data_prep.results import ResultStore
from data_prep.rules.filters import Filter, first_reason
from data_prep.sources.parquet import stack_row
from data_prep.units import Unit
from tests.data_prep.example_documents import code, document, documents, plain_stream, write_environment, write_rows
from tests.data_prep.test_pipeline import configure, content, run_killed

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The rows that are processed, in their order."""
    seen = list[tuple[str, int, int]]()

    def counted(held: list[Unit], work: stages.Work, workers: int | None) -> Iterator[object]:
        if getattr(work, "func", None) is process.process:
            for unit in held:
                seen.extend((unit.file, unit.row_group, row) for row in unit.rows)
                yield work(unit.table)
        else:
            yield from plain_stream(held, work, workers)

    monkeypatch.setattr(pipeline, "_stream", counted)
    return seen


def grow(source: Path) -> None:
    """More row groups at the end of one file, and one more file."""
    rows = [stack_row(one) for one in documents()]
    more = [stack_row(document(f"new/project-{number}", "a.py", code(number, 99))) for number in range(9)]
    write_rows([*rows[0::2], *more[:5]], source / "data/train-00000-of-00002.parquet")
    write_rows(more[5:], source / "data/train-00002-of-00002.parquet")


def test_what_was_processed_before_an_interruption_is_not_processed_again(
    source: Path, tmp_path: Path, processed: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = prepare(configure(source), tmp_path / "undisturbed")
    every = list(processed)
    processed.clear()
    with monkeypatch.context() as broken:
        broken.setattr(ResultStore, "add", interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus")
    assert len(processed) > 21 and len(set(processed)) == len(processed)
    processed.clear()
    corpus = prepare(configure(source), tmp_path / "corpus")
    assert processed == every[21:]
    assert content(corpus.path) == content(undisturbed.path)


def interrupted_after(count: int) -> Callable[[ResultStore, pa.Table], None]:
    keep = ResultStore.add
    calls = iter(range(count))

    def kept(self: ResultStore, results: pa.Table) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        keep(self, results)

    return kept


@pytest.mark.parametrize("options", [{}, {"vocabularies": ["char"]}, {"max_repository_megabytes": 0.003, "max_megabytes": 0.04}])
def test_a_source_that_has_grown_gives_what_a_fresh_run_gives(
    options: dict[str, object], source: Path, tmp_path: Path, processed: list[tuple[str, int, int]]
) -> None:
    before = prepare(configure(source, **options), tmp_path / "corpus").manifest
    known = set(processed)
    processed.clear()
    grow(source)
    after = prepare(configure(source, **options), tmp_path / "corpus", update=True)
    new = set(processed)
    assert new and not known & {place for place in new if place[:2] != ("data/train-00000-of-00002.parquet", 4)}
    fresh = prepare(configure(source, **options), tmp_path / "fresh")
    assert after.manifest == fresh.manifest != before and after.vocabularies == fresh.vocabularies
    tokens = {name: found for name, found in content(fresh.path).items() if not name.startswith("units/")}
    assert tokens == {name: found for name, found in content(after.path).items() if not name.startswith("units/")}
    assert not list(tmp_path.glob(".*"))


def test_without_being_asked_to_nobody_replaces_a_corpus(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = content(prepare(configure(source), tmp_path / "corpus").path)
    assert not caplog.messages or "--update" not in caplog.text
    grow(source)
    prepare(configure(source), tmp_path / "corpus")
    assert content(tmp_path / "corpus") == before
    assert "has changed since (files: 2 before, 3 now); --update includes the changes" in caplog.text


def test_an_update_with_nothing_new_does_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(configure(source), tmp_path / "corpus").manifest
    monkeypatch.delattr(pipeline, "_build")
    assert prepare(configure(source), tmp_path / "corpus", update=True).manifest == before
    (tmp_path / "gone").mkdir()
    source.rename(tmp_path / "gone/source")
    with pytest.raises(CorpusError, match="there is no source"):
        prepare(configure(source), tmp_path / "corpus", update=True)


def test_an_interrupted_run_over_a_source_that_grew_meanwhile_is_a_fresh_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus")
    grow(source)
    assert prepare(configure(source), tmp_path / "corpus").manifest == prepare(configure(source), tmp_path / "fresh").manifest


def test_an_update_that_is_killed_leaves_the_corpus_and_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(configure(source), tmp_path / "corpus")
    before = content(tmp_path / "corpus")
    grow(source)
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus", update=True)
    assert content(tmp_path / "corpus") == before
    after = prepare(configure(source), tmp_path / "corpus", update=True)
    assert after.manifest == prepare(configure(source), tmp_path / "fresh").manifest


def test_an_update_that_is_killed_between_its_renames_loses_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(configure(source, vocabularies=["char"]), tmp_path / "corpus")
    before = content(tmp_path / "corpus")
    grow(source)
    moved = os.replace

    def killed(of: Path, to: Path) -> None:
        if Path(of) == tmp_path / ".corpus.part/corpus":
            raise KeyboardInterrupt
        moved(of, to)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(configure(source), tmp_path / "corpus", update=True)
    assert not (tmp_path / "corpus").exists()
    prepare(configure(source), tmp_path / "corpus")
    assert content(tmp_path / "corpus") == before
    after = prepare(configure(source), tmp_path / "corpus", update=True)
    assert after.vocabularies == ("char",)
    assert after.manifest == prepare(configure(source), tmp_path / "fresh").manifest
    assert not list(tmp_path.glob(".*"))


def test_packages_that_were_installed_since_come_in_with_an_update(tmp_path: Path) -> None:
    few, more = write_environment(tmp_path / "few", 16), write_environment(tmp_path / "more", 18)
    prepare(configure("environment"), tmp_path / "corpus", few)
    after = prepare(configure("environment"), tmp_path / "corpus", more, update=True)
    assert content(after.path) == content(prepare(configure("environment"), tmp_path / "fresh", more).path)


def quarantined(corpus: Corpus) -> list[dict[str, object]]:
    return [json.loads(line) for line in (corpus.path / "quarantine.jsonl").read_text().splitlines()]


def test_bad_rows_are_listed_with_their_reason_and_without_their_content(source: Path, tmp_path: Path) -> None:
    good = stack_row(document(text=code(70, 1)))
    write_rows([good, good | {"content": None}, good | {"max_stars_repo_name": None}], source / "more.parquet")
    corpus = prepare(configure(source), tmp_path / "corpus")
    place = {"file": "more.parquet", "row_group": 0}
    assert quarantined(corpus) == [{**place, "row": 1, "reason": "null content"}, {**place, "row": 2, "reason": "no name"}]
    assert corpus.manifest.bad_rows == 2
    assert corpus.manifest.drops["null content"].documents == corpus.manifest.drops["no name"].documents == 1


def test_a_row_that_a_rule_stumbles_over_does_not_end_the_job(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = code(3, 1)

    def stumbling(one: Document, filters: Sequence[Filter]) -> str | None:
        if one.text == bad:
            raise RecursionError(bad)
        return first_reason(one, filters)

    monkeypatch.setattr(process, "first_reason", stumbling)
    corpus = prepare(configure(source), tmp_path / "corpus")
    (row,) = quarantined(corpus)
    assert row["reason"] == "failed: RecursionError" and corpus.manifest.drops["failed: RecursionError"].documents == 1
    assert corpus.manifest.stages["filtered"].documents == corpus.manifest.stages["found"].documents - 1
    assert "computed_value" not in (corpus.path / "quarantine.jsonl").read_text()


def test_the_figures_add_up_to_the_splits(source: Path, tmp_path: Path) -> None:
    manifest = prepare(configure(source), tmp_path / "corpus").manifest
    assert manifest.held is not None and (manifest.held.files, manifest.held.row_groups, manifest.held.rows) == (2, 10, 60)
    for split, info in manifest.splits.items():
        (task,) = manifest.figures[split].languages.values()
        assert (task.documents, task.bytes, task.tokens) == (info.documents, info.bytes, info.tokens)
        assert sum(manifest.figures[split].sizes) == sum(manifest.figures[split].lengths) == info.documents


def test_killed_at_three_random_moments_it_ends_as_undisturbed(source: Path, tmp_path: Path) -> None:
    """The quick form of `benchmarks/prepare_kills.py`: the moments are counts of writes to the disk, drawn from a seed."""
    undisturbed = prepare(configure(source), tmp_path / "undisturbed")
    moments = stream(0, "kills")
    codes = [run_killed(source, tmp_path / "corpus", moments.randrange(2, 22)) for _ in range(3)]
    assert codes == [-signal.SIGKILL] * 3
    assert content(prepare(configure(source), tmp_path / "corpus").path) == content(undisturbed.path)
