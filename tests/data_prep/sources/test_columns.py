"""The types in which pandas, polars, cudf and datasets write the columns of a row."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codenas.errors import CorpusError
from data_prep.document import Document, Entry
from data_prep.sources.columns import count_of, hive_columns
from data_prep.sources.parquet import list_entries, parquet_files, read_documents, stack_row
from tests.data_prep.example_documents import code, document

ROWS = [stack_row(document(f"owner/{number}", f"{number}.py", code(number, 0))) | {"max_stars_count": 7} for number in range(3)]
STRING, NULL = pa.string(), pa.null()
NAME, LICENCES = "max_stars_repo_name", "max_stars_repo_licenses"


def table(**types: pa.DataType) -> pa.Table:
    """Three rows of The Stack v1, some columns in other types."""
    columns = ("size", "lang", "max_stars_repo_path", NAME, LICENCES, "max_stars_count", "content")
    plain = {"size": pa.int64(), "max_stars_count": pa.int64(), LICENCES: pa.list_(STRING)}
    made: dict[str, pa.Array] = {}
    for name in columns:
        kind = types.get(name, plain.get(name, STRING))
        cells = [None if kind == NULL else row[name] for row in ROWS]
        if kind == pa.list_(NULL):
            cells = [[], None, []]
        made[name] = pa.array(cells, kind) if name == LICENCES or kind == NULL else pa.array(cells).cast(kind)
    return pa.table(made)


def read(file: Path) -> tuple[list[Entry], list[Document | str]]:
    entries = list(list_entries(parquet_files(file), file.parent))
    return entries, list(read_documents(file, 0, [2, 0, 1][: len(entries)]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, pa.dictionary(pa.int32(), STRING)) for name in ("lang", NAME, "content")),
        ("lang", pa.dictionary(pa.int8(), pa.large_string())),
        *((name, kind) for name in (NAME, "content") for kind in (pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view())),
        *((LICENCES, kind) for kind in (pa.large_list(pa.large_string()), pa.list_(pa.dictionary(pa.int32(), STRING)))),
        *((LICENCES, kind) for kind in (pa.list_view(STRING), pa.list_(STRING, 1), pa.list_(pa.string_view()))),
        *(("size", kind) for kind in (pa.int32(), pa.uint64(), pa.float64())),
        ("max_stars_count", pa.float64()),
    ],
    ids=str,
)
def test_every_type_of_a_value_gives_the_same_documents(name: str, kind: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "plain.parquet")
    pq.write_table(table(**{name: kind}), tmp_path / "other.parquet")
    (entries, documents), (others, same) = read(tmp_path / "plain.parquet"), read(tmp_path / "other.parquet")
    assert same == documents and len(documents) == 3
    assert [(entry.key, entry.licences, entry.size, entry.language) for entry in others] == [
        (entry.key, entry.licences, entry.size, entry.language) for entry in entries
    ]


@pytest.mark.parametrize("kind", [NULL, pa.list_(NULL)])
def test_a_file_without_any_licence_is_one_of_documents_without_licence(kind: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(table(**{LICENCES: kind}), tmp_path / "a.parquet")
    entries, documents = read(tmp_path / "a.parquet")
    assert [entry.licences for entry in entries] == [()] * 3
    assert [one.licences for one in documents if isinstance(one, Document)] == [()] * 3


@pytest.mark.parametrize(("name", "texts"), [("lang", 3), ("size", 3), ("max_stars_count", 3), ("content", 0)])
def test_a_column_of_nulls_is_one_of_missing_values(name: str, texts: int, tmp_path: Path) -> None:
    pq.write_table(table(**{name: NULL}), tmp_path / "a.parquet")
    entries, documents = read(tmp_path / "a.parquet")
    assert {entry.language for entry in entries} == {"Python"}
    assert sum(isinstance(one, Document) for one in documents) == texts and set(documents[texts:]) <= {"null content"}


def test_a_file_without_rows_and_one_without_row_groups_hold_nothing(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(table().slice(0, 0), tmp_path / "b.parquet")
    with pq.ParquetWriter(tmp_path / "c.parquet", table().schema):
        pass
    assert len(list(list_entries(parquet_files(tmp_path), tmp_path))) == 3


def test_folders_name_columns(tmp_path: Path) -> None:
    for folder in ("lang=Python", "lang=C%2B%2B", "lang=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / folder).mkdir()
        pq.write_table(table().drop_columns("lang"), tmp_path / folder / "part-0.parquet")
    entries = list(list_entries(parquet_files(tmp_path), tmp_path))
    assert [entry.language for entry in entries[::3]] == ["C++", "Python", "Python"]  # the last by its file names
    (first, *_) = read_documents(tmp_path / entries[0].file, 0, [0])
    assert isinstance(first, Document) and first.language == "C++"
    assert hive_columns("a=1/b/c=/x.parquet") == {"a": "1", "c": ""}


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        (LICENCES, ["MIT"] * 3, r'is string and must be list<string> \(in pandas: df\["max_stars_repo_licenses"\] = '),
        ("size", ["1"] * 3, r'size is string and must be int64 \(in pandas: df\["size"\] = df\["size"\].astype\("int64"\)\)'),
        ("lang", [1] * 3, r'lang is int64 and must be string \(in pandas: df\["lang"\]'),
    ],
)
def test_what_is_refused_says_how_to_convert_it(name: str, column: list[Any], message: str, tmp_path: Path) -> None:
    changed = table().set_column(table().column_names.index(name), name, pa.array(column))
    pq.write_table(changed, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=message):
        parquet_files(tmp_path)


@pytest.mark.parametrize(("value", "expected"), [(7, 7), (7.0, 7), (-1, 0), (None, 0), (float("nan"), 0), (1e300, 0), ("7", 0)])
def test_an_impossible_count_is_zero(value: object, expected: int) -> None:
    assert count_of(value) == expected
