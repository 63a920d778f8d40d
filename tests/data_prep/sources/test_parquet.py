"""The one reader of The Stack v1, and what it does with bad input."""

import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codenas.errors import CorpusError
from data_prep.config import Thresholds
from data_prep.document import Document
from data_prep.process import UNREADABLE, DocumentProcessor, by_row_group, process
from data_prep.rules.filters import quality_filters
from data_prep.sources.parquet import STACK_V1, list_entries, parquet_files, read_documents, stack_row, write_stack
from data_prep.units import Unit, schedule, units_of
from tests.data_prep.example_documents import code, document, documents, write_rows, write_source

PROCESSOR = DocumentProcessor(quality_filters(Thresholds()))


def test_the_schema_has_the_29_columns_of_the_stack() -> None:
    assert len(STACK_V1.names) == len(set(STACK_V1.names)) == 29
    assert STACK_V1.names[:6] == ["hexsha", "size", "ext", "lang", "max_stars_repo_path", "max_stars_repo_name"]
    assert STACK_V1.names[-4:] == ["content", "avg_line_length", "max_line_length", "alphanum_fraction"]
    assert "max_issues_repo_issues_event_min_datetime" in STACK_V1.names


def test_documents_come_back_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sources.parquet.ROW_GROUP_BYTES", 2000)
    held = [*documents(4), document(text="naïve = '数'\n")]
    file = tmp_path / "all.parquet"
    write_stack(held, file)
    entries = list(list_entries(parquet_files(file), tmp_path))
    assert [entry.key for entry in entries] == [(one.repository, one.path) for one in held]
    assert [entry.size for entry in entries] == [len(one.data) for one in held]
    assert len({entry.row_group for entry in entries}) > 2
    read = [one for unit in units_of(entries) for one in read_documents(tmp_path / unit.file, unit.row_group, unit.rows)]
    assert read == held


def test_line_ends_become_those_of_unix(tmp_path: Path) -> None:
    file = write_rows([stack_row(document(text="one = 1\r\ntwo = '\\r\\n'\rthree\n"))], tmp_path / "a.parquet")
    (read,) = read_documents(file, 0, [0])
    assert isinstance(read, Document) and read.text == "one = 1\ntwo = '\\r\\n'\rthree\n"


def test_the_hash_is_the_one_of_git(tmp_path: Path) -> None:
    one = document(text=code(1, 1))
    git = subprocess.run(["git", "hash-object", "--stdin"], input=one.data, capture_output=True, check=True, cwd=tmp_path)
    assert stack_row(one)["hexsha"] == git.stdout.decode().strip()
    assert stack_row(one)["max_stars_repo_licenses"] == ["MIT"]
    assert stack_row(one).get("max_stars_count") is None


def test_rows_are_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    file = write_rows([stack_row(one) for one in documents(2)], tmp_path / "a.parquet")
    texts = [one.text for one in read_documents(file, 0, [4, 0]) if isinstance(one, Document)]
    assert texts == [code(1, 1), code(0, 0)]


def test_extra_columns_large_strings_and_their_order_do_not_matter(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(one) for one in documents(1)], STACK_V1)
    large = table.set_column(table.column_names.index("content"), "content", table["content"].cast(pa.large_string()))
    wide = large.append_column("extra", pa.array([1, 2, 3]))
    pq.write_table(wide.select(list(reversed(wide.column_names))), tmp_path / "a.parquet")
    assert len(list(list_entries(parquet_files(tmp_path), tmp_path))) == 3


def test_a_missing_or_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no source .*nowhere"):
        parquet_files(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"is empty: 0 parquet files"):
        parquet_files(tmp_path)


def test_missing_columns_are_named_with_what_was_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"], "repository_name": ["a/b"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a.parquet lacks the columns max_stars_repo_name, .*lang.*; it has content, repository_name"):
        parquet_files(tmp_path)


def test_columns_of_another_type_are_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(document())], STACK_V1)
    for name, column in {"max_stars_repo_licenses": pa.array(["MIT"]), "size": pa.array(["1"])}.items():
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"max_stars_repo_licenses is string and must be list.*, size is string and must be int64"):
        parquet_files(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(keep: float, tmp_path: Path) -> None:
    file = write_source(tmp_path, files=1) / "data/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(CorpusError, match=r"00001.parquet is not a whole parquet file") as caught:
        parquet_files(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = write_source(tmp_path, files=1) / "data/train-00000-of-00001.parquet"
    file.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.parquet")))
    with pytest.raises(CorpusError, match="caf\ufffd.parquet has a name that is not UTF-8 .*; rename it"):
        parquet_files(tmp_path)


def test_a_size_that_cannot_be_counts_as_none(tmp_path: Path) -> None:
    good = stack_row(document(text=code(1, 1)))
    file = write_rows([good | {"size": size} for size in (-5, None, 7)], tmp_path / "a.parquet")
    assert [entry.size for entry in list_entries([file], tmp_path)] == [0, 0, 7]


def reasons(file: Path) -> list[str | None]:
    entries = list(list_entries(parquet_files(file), file.parent))
    units = pa.concat_tables([unit.table for unit in units_of(entries)])
    return process(units, file.parent, PROCESSOR)["reason"].to_pylist()


def test_the_results_of_a_task_are_told_apart(tmp_path: Path) -> None:
    for name in "ab":
        write_rows([stack_row(one) for one in documents(5)], tmp_path / f"{name}.parquet")
    units = units_of(list_entries(parquet_files(tmp_path), tmp_path))
    together = process(pa.concat_tables(unit.table for unit in units), tmp_path, PROCESSOR)
    assert len(units) > 2
    assert list(by_row_group(together)) == [process(unit.table, tmp_path, PROCESSOR) for unit in units]


def test_bad_rows_are_dropped_with_their_reason_and_the_others_kept(tmp_path: Path) -> None:
    good = stack_row(document(text=code(1, 1)))
    nul, cut = stack_row(document(text="value = '\x00'\n" * 9)), stack_row(document(text="def f(:\n"))
    rows = [good, good | {"content": None}, nul, cut, good | {"size": None, "max_stars_repo_licenses": None}]
    assert reasons(write_rows(rows, tmp_path / "a.parquet")) == [None, "null content", "syntax", "syntax", None]


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"x = '\xed\xa0\x80'", b"caf\xe9"])
def test_invalid_utf8_and_lone_surrogates_do_not_spoil_their_neighbours(bad: bytes, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(document(text=code(1, number))) for number in range(3)], STACK_V1)
    good = table["content"].to_pylist()
    # Arrow does not check: this is how such a row gets into a real file.
    contents = pa.Array.from_buffers(pa.string(), 3, pa.array([good[0].encode(), bad, good[2].encode()], pa.binary()).buffers())
    pq.write_table(table.set_column(table.column_names.index("content"), "content", contents), tmp_path / "a.parquet")
    assert reasons(tmp_path / "a.parquet") == [None, "not UTF-8", None]


def test_a_broken_row_group_is_unreadable_and_the_next_is_not(tmp_path: Path) -> None:
    file = write_rows([stack_row(one) for one in documents(5)], tmp_path / "a.parquet")
    entries = list(list_entries(parquet_files(file), tmp_path))
    column = pq.ParquetFile(file).metadata.row_group(0).column(STACK_V1.names.index("content"))
    data = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(data)
    reasons = process(pa.concat_tables([unit.table for unit in units_of(entries)]), tmp_path, PROCESSOR)["reason"].to_pylist()
    assert reasons == [UNREADABLE] * 7 + [None] * 8


def test_names_that_cannot_be_read_end_the_job_in_one_line(tmp_path: Path) -> None:
    file = write_rows([stack_row(one) for one in documents(5)], tmp_path / "a.parquet")
    column = pq.ParquetFile(file).metadata.row_group(0).column(STACK_V1.names.index("max_stars_repo_name"))
    data = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(data)
    with pytest.raises(CorpusError, match=r"a.parquet is not a whole parquet file \(.*\); fetch it again") as caught:
        list(list_entries(parquet_files(file), tmp_path))
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(1, 1500), max_size=60), st.integers(1, 9))
def test_tasks_hold_all_units_in_their_order_and_become_smaller(rows: list[int], workers: int) -> None:
    units = [Unit("a", number, list(range(count)), [""] * count) for number, count in enumerate(rows)]
    planned = list(schedule(units, workers))
    assert [unit for task in planned for unit in task] == units
    for number, task in enumerate(planned):
        left = sum(len(unit.rows) for later in planned[number:] for unit in later)
        assert len(task) == 1 or sum(len(unit.rows) for unit in task) <= min(1000, left / (2 * workers))


def test_all_workers_end_together_and_work_is_handed_out_rarely() -> None:
    planned = list(schedule([Unit("a", number, [0] * 100, [""] * 100) for number in range(100)], 2))
    assert len(planned) < 30 and [len(task) for task in planned[:5]] == [10] * 5
    assert [len(task) for task in planned[-4:]] == [1] * 4


def test_units_travel_as_tables() -> None:
    units = [Unit("a", 0, [1, 2], ["train", "valid"]), Unit("b", 3, [0], [""])]
    assert Unit.from_table(pa.concat_tables([unit.table for unit in units])) == units
