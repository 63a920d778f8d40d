"""Verdicts on row groups are stored once, and found again as long as the row group is the same."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from data_prep.config import Thresholds
from data_prep.process import DocumentProcessor, process
from data_prep.results import ResultStore, copy_results
from data_prep.rules.filters import quality_filters
from data_prep.sources.parquet import list_entries, parquet_files, stack_row
from data_prep.sources.row_groups import list_row_groups
from data_prep.units import Unit, units_of
from tests.data_prep.example_documents import documents, write_rows

PROCESSOR = DocumentProcessor(quality_filters(Thresholds()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows([stack_row(one) for one in documents(6)], tmp_path / "source/a.parquet")


def units(file: Path) -> list[Unit]:
    return units_of(list_entries(parquet_files(file), file.parent))


def opened(file: Path) -> ResultStore:
    return ResultStore(file.parents[1] / "units", list_row_groups([file], file.parent).digests)


def processed(file: Path, of: list[Unit]) -> list[pa.Table]:
    return [process(unit.table, file.parent, PROCESSOR) for unit in of]


def test_a_verdict_is_found_again_and_the_rest_is_missing(file: Path) -> None:
    store, (first, second, third) = opened(file), units(file)
    assert store.missing([first, second, third]) == [first, second, third]
    for results in processed(file, [first, third]):
        store.add(results)
    assert opened(file).missing([first, second, third]) == [second]
    read = opened(file).results([third, replace(first, rows=[4, 1], splits=["", ""])], ("row", "reason", "sha256"))
    assert [row["row"] for row in read] == [*third.rows, 4, 1]


def test_rows_that_are_asked_for_later_are_processed_alone(file: Path) -> None:
    store, unit = opened(file), units(file)[0]
    some, others = replace(unit, rows=[1, 5], splits=["", ""]), replace(unit, rows=[0, 2, 3, 4, 6], splits=[""] * 5)
    store.add(processed(file, [some])[0])
    assert store.missing([unit]) == [others]
    store.add(processed(file, [others])[0])
    assert store.missing([unit]) == []
    assert [row["row"] for row in store.results([unit], ("row",))] == unit.rows


def test_more_row_groups_leave_those_before_them_alone(file: Path) -> None:
    store = opened(file)
    for results in processed(file, units(file)):
        store.add(results)
    before = units(file)
    write_rows([stack_row(one) for one in documents(10)][: 21 - 3 + 7], file)
    assert opened(file).missing(units(file))[0].row_group == len(before) - 1  # its last row group was not full
    write_rows([stack_row(one) for one in documents(10)], file)
    assert {unit.row_group for unit in opened(file).missing(units(file))} == set(range(2, 5))


@pytest.mark.parametrize("spoil", ["cut", "empty", "folder gone"])
def test_a_torn_file_counts_as_absent(spoil: str, file: Path) -> None:
    store, unit = opened(file), units(file)[0]
    store.add(processed(file, [unit])[0])
    (path,) = (file.parents[1] / "units").rglob("*.verdicts")
    if spoil == "folder gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if spoil == "cut" else b"")
    assert opened(file).missing([unit]) == [unit]


def test_verdicts_on_another_content_count_as_absent_and_are_pruned(file: Path) -> None:
    store, held = opened(file), units(file)
    for results in processed(file, held):
        store.add(results)
    write_rows([stack_row(replace(one, text=one.text + "# more\n")) for one in documents(2)], file)
    again = opened(file)
    assert again.missing(units(file)) == units(file)
    again.prune()
    assert len(list((file.parents[1] / "units").rglob("*.verdicts"))) == 1


def test_what_a_row_group_is_does_not_depend_on_its_place(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/b.parquet"
    other.parent.mkdir()
    other.write_bytes(file.read_bytes())
    there, here = (list_row_groups([path], path.parent) for path in (other, file))
    assert list(there.digests.values()) == list(here.digests.values())
    assert sum(here.sizes.values()) < file.stat().st_size and len(set(here.digests.values())) == 3


def test_verdicts_are_taken_over_whole(file: Path, tmp_path: Path) -> None:
    store = opened(file)
    for results in processed(file, units(file)):
        store.add(results)
    (tmp_path / ".there.copy").mkdir()  # of a call that was killed
    copy_results(tmp_path / "units", tmp_path / "there")
    assert ResultStore(tmp_path / "there", list_row_groups([file], file.parent).digests).missing(units(file)) == []
    assert not list(tmp_path.glob(".there*"))
