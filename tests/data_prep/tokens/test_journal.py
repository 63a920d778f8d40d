"""Tokenising goes on behind the last unit that is on the disk, and ends with the bytes of an undisturbed run."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from data_prep import pipeline, stages
from data_prep.entry_table import load_entries
from data_prep.pipeline import prepare
from data_prep.sources.parquet import stack_row
from data_prep.tokens import journal as token_journal
from data_prep.tokens import tokenise
from data_prep.tokens.journal import Part, parts_of
from data_prep.units import Unit, units_of
from tests.data_prep.example_documents import code, document, write_rows
from tests.data_prep.test_pipeline import configure, content

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The row groups that are tokenised, in their order; the run is interrupted where a name stands in their place."""
    seen = list[tuple[str, int]]()

    def counted(held: list[Unit], work: stages.Work, workers: int | None) -> Iterator[object]:
        for unit in held:
            if getattr(work, "func", None) is tokenise.encode:
                seen.append((unit.file, unit.row_group))
            yield work(unit.table)

    monkeypatch.setattr(pipeline, "_stream", counted)
    return seen


def interrupt(source: Path, output: Path, after: int, **options: object) -> None:
    """Prepare, and end before the tokens of one more unit are written."""
    add, calls = token_journal.JournaledShards.add, iter(range(after))

    def added(self: token_journal.JournaledShards, parts: list[Part]) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        add(self, parts)

    with pytest.MonkeyPatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(token_journal.JournaledShards, "add", added)
        prepare(configure(source, **options), output)


@pytest.mark.parametrize(
    ("after", "options"), [(4, {}), (0, {}), (10 + 4, {"vocabularies": ["char"]}), (10 + 4, {"vocabularies": ["bpe-300"]})]
)
def test_only_the_rest_is_tokenised(
    after: int, options: dict[str, object], source: Path, tmp_path: Path, tokenised: list[tuple[str, int]]
) -> None:
    undisturbed = prepare(configure(source, **options), tmp_path / "undisturbed")
    every = list(tokenised)
    assert len(every) == 10 * (1 + len(undisturbed.vocabularies))
    interrupt(source, tmp_path / "corpus", after, **options)
    tokenised.clear()
    corpus = prepare(configure(source, **options), tmp_path / "corpus")
    assert tokenised == every[after:]
    assert content(corpus.path) == content(undisturbed.path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("spoil", ["shard cut", "shard changed", "shard gone", "journal torn", "journal gone", "journal of another"])
def test_what_is_not_whole_is_tokenised_again(spoil: str, source: Path, tmp_path: Path, tokenised: list[tuple[str, int]]) -> None:
    undisturbed = prepare(configure(source), tmp_path / "undisturbed")
    interrupt(source, tmp_path / "corpus", 5)
    journal, shard = tmp_path / ".corpus.part/tokens.jsonl", tmp_path / ".corpus.part/corpus/tokens/train-00000.bin"
    data = shard.read_bytes()
    of, *lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 5
    match spoil:
        case "shard cut":
            os.truncate(shard, len(data) - 1)
        case "shard changed":
            shard.write_bytes(data[:-2] + b"\1\1")
        case "shard gone":
            shard.unlink()
        case "journal torn":
            journal.write_text("".join((of, *lines))[:-9])
        case "journal gone":
            journal.unlink()
        case "journal of another":
            journal.write_text("".join((json.dumps({"of": "x"}) + "\n", *lines)))
    tokenised.clear()
    corpus = prepare(configure(source), tmp_path / "corpus")
    assert len(tokenised) == (6 if spoil in ("shard cut", "shard changed", "journal torn") else 10)
    assert content(corpus.path) == content(undisturbed.path)


def test_tokens_of_a_source_that_has_changed_since_are_not_taken_up(source: Path, tmp_path: Path) -> None:
    interrupt(source, tmp_path / "corpus", 8, vocabularies=["char"])
    write_rows([stack_row(document(f"new/{number}", "a.py", code(number, 99))) for number in range(5)], source / "more.parquet")
    corpus = prepare(configure(source, vocabularies=["char"]), tmp_path / "corpus")
    assert content(corpus.path) == content(prepare(configure(source, vocabularies=["char"]), tmp_path / "fresh").path)


def test_an_update_that_is_interrupted_while_vocabularies_are_added_keeps_those_that_are_whole(
    source: Path, tmp_path: Path, tokenised: list[tuple[str, int]]
) -> None:
    options = {"vocabularies": ["char", "bpe-300"]}
    prepare(configure(source, **options), tmp_path / "corpus")
    write_rows([stack_row(document(f"new/{number}", "a.py", code(number, 99))) for number in range(5)], source / "more.parquet")
    with pytest.MonkeyPatch.context() as broken, pytest.raises(KeyboardInterrupt):
        named = stages.make_named_vocabulary
        broken.setattr(stages, "make_named_vocabulary", lambda name, *held: named(name, *held) if name != "char" else interrupted())
        prepare(configure(source, **options), tmp_path / "corpus", update=True)
    tokenised.clear()
    corpus = prepare(configure(source, **options), tmp_path / "corpus", update=True)
    assert len(tokenised) == 11  # char alone
    assert content(corpus.path) == content(prepare(configure(source, **options), tmp_path / "fresh").path)


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_unit_may_come_in_several_tables(source: Path, tmp_path: Path) -> None:
    corpus = prepare(configure(source), tmp_path / "corpus")
    entries, _ = load_entries(corpus.path / "documents.parquet")
    units = units_of(entries)
    whole = [tokenise.encode(unit.table, source, corpus.tokenizer_path, True) for unit in units]
    rows = [table.slice(row, 1) for table in whole for row in range(table.num_rows)]
    assert len(rows) > len(units)
    expected = [split_and_ids(parts) for parts in parts_of(units, iter(whole))]
    for tables in (rows, [pa.concat_tables(whole)]):
        assert [split_and_ids(parts) for parts in parts_of(units, iter(tables))] == expected


def split_and_ids(parts: list[Part]) -> list[tuple[str, list[int]]]:
    return [(part.split, part.ids.tolist()) for part in parts]
