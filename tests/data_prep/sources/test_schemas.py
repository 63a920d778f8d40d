"""The data sets of The Stack's family, in the schemas that they have."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codenas.errors import CorpusError
from data_prep.config import PERMISSIVE_UNNAMED
from data_prep.document import Document, Entry
from data_prep.sources.locations import open_parquet
from data_prep.sources.parquet import list_entries, parquet_files, read_documents, stack_row
from tests.data_prep.example_documents import code, document, write_rows

TEXT = code(1, 1)
HASH = "8b137891791fe96927ad78e64b0aad7bded08bdc"
STARCODER = {
    "max_stars_repo_path": "src/a.py", "max_stars_repo_name": "owner/one", "max_stars_count": 7, "id": "1234",
    "content": f"<reponame>owner/one<filename>src/a.py<gh_stars>1-10\n{TEXT}",
}  # fmt: skip
SMOL = {
    "content": TEXT, "avg_line_length": 20.0, "max_line_length": 60, "alphanum_fraction": 0.7, "licenses": ["MIT", "ISC"],
    "repository_name": "owner/one", "path": "src/a.py", "size": len(TEXT), "lang": "Python",
}  # fmt: skip
V2 = {
    "blob_id": HASH, "directory_id": "d", "path": "/src/a.py", "content_id": "c", "detected_licenses": ["MIT"],
    "license_type": "permissive", "repo_name": "owner/one", "snapshot_id": "s", "revision_id": "r", "branch_name": "refs/heads/main",
    "github_id": 1, "star_events_count": 3, "fork_events_count": 0, "gha_license_id": None, "gha_language": "Python",
    "src_encoding": "UTF-8", "language": "Python", "is_vendor": False, "is_generated": False, "length_bytes": len(TEXT), "extension": "py",
}  # fmt: skip


def write(rows: list[dict[str, Any]], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def read(file: Path) -> tuple[list[Entry], list[Document | str]]:
    entries = list(list_entries(parquet_files(file), file.parent))
    return entries, list(read_documents(file, 0, range(len(entries))))


def test_starcoderdata_loses_its_line_of_metadata(tmp_path: Path) -> None:
    kept = "x = '<reponame>'\n" + TEXT
    texts = [str(STARCODER["content"]), f"<filename>src/a.py\n{TEXT}", f"<gh_stars>0\n{TEXT}", TEXT, kept]
    entries, documents = read(write([STARCODER | {"content": text} for text in texts], tmp_path / "a.parquet"))
    assert [one.text for one in documents if isinstance(one, Document)] == [TEXT] * 4 + [kept]
    assert entries[0].language == "Python" and entries[0].licences == (PERMISSIVE_UNNAMED,) and entries[0].stars == 7
    assert documents[0] == Document("owner/one", "src/a.py", (PERMISSIVE_UNNAMED,), "Python", TEXT)


def test_where_no_size_is_told_the_mean_of_the_row_group_stands_for_it(tmp_path: Path) -> None:
    rows = [STARCODER | {"content": code(number, 0)} for number in range(40)]
    entries, _ = read(write(rows, tmp_path / "a.parquet"))
    assert entries[0].size == pytest.approx(len(code(1, 0)), rel=0.1)


def test_the_smol_one_names_its_columns_otherwise(tmp_path: Path) -> None:
    entries, documents = read(write([SMOL], tmp_path / "a.parquet"))
    assert documents == [Document("owner/one", "src/a.py", ("ISC", "MIT"), "Python", TEXT)]
    assert (entries[0].size, entries[0].licences) == (len(TEXT), ("ISC", "MIT"))


def test_v2_with_its_texts_in_a_column(tmp_path: Path) -> None:
    rows = [V2 | {"content": TEXT}, V2 | {"content": TEXT, "is_vendor": True}, V2 | {"content": TEXT, "is_generated": True}]
    entries, documents = read(write(rows, tmp_path / "a.parquet"))
    assert [entry.flag for entry in entries] == ["", "vendored copy", "generated"]
    assert documents[0] == Document("owner/one", "/src/a.py", ("MIT",), "Python", TEXT) and entries[0].stars == 3


def test_v2_with_its_texts_in_files(tmp_path: Path) -> None:
    texts = {
        "plain": TEXT.encode(),
        "packed": gzip.compress(TEXT.encode()),
        "latin": "# é\n".encode("latin-1"),
        "bomb": gzip.compress(b" " * 10**7),
    }
    (tmp_path / "content").mkdir()
    for name, data in texts.items():
        (tmp_path / "content" / name).write_bytes(data)
    (tmp_path / "outside").write_bytes(b"secret")
    named = [V2 | {"blob_id": name} for name in (*texts, "absent", "../outside", None)]
    named[2] |= {"src_encoding": "ISO-8859-1"}
    _, documents = read(
        write([*named, named[2] | {"src_encoding": "UTF-8"}, named[2] | {"src_encoding": "klingon"}], tmp_path / "data/a.parquet")
    )
    assert [one.text if isinstance(one, Document) else one for one in documents] == [
        TEXT, TEXT, "# é\n", "longer than stated", "no text", "no text", "no text", "not UTF-8", "not in the stated encoding",
    ]  # fmt: skip


def test_v2_without_any_texts_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"a.parquet is of The Stack v2, which has metadata without texts; store each text as content/BLOB_ID"
    ):
        parquet_files(write([V2], tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"repo_name": None}, "lacks the columns repo_name of The Stack v2"),
        ({"path": None, "repository_name": "x"}, "lacks the columns path of The Stack v2"),
        ({"detected_licenses": "MIT"}, r"has columns of another type than The Stack v2.*: detected_licenses is string and must be list"),
        ({"length_bytes": "9"}, "length_bytes is string and must be int64"),
    ],
)
def test_a_missing_column_is_named_with_the_data_set_that_is_nearest(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    changed = {name: value for name, value in (V2 | {"content": TEXT} | row).items() if value is not None or name not in row}
    with pytest.raises(CorpusError, match=message):
        parquet_files(write([changed], tmp_path / "a.parquet"))


def test_names_that_are_no_utf8_spoil_no_other_row(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([SMOL, SMOL | {"path": "b.py"}])
    paths = pa.Array.from_buffers(pa.string(), 2, pa.array([b"src/\xff.py", b"b.py"], pa.binary()).buffers())
    pq.write_table(table.set_column(table.column_names.index("path"), "path", paths), tmp_path / "a.parquet")
    entries, documents = read(tmp_path / "a.parquet")
    assert [entry.path for entry in entries] == ["src/\ufffd.py", "b.py"]
    assert [one.path for one in documents if isinstance(one, Document)] == ["src/\ufffd.py", "b.py"]


def test_a_licence_that_is_no_utf8_is_on_no_list_and_spoils_no_other_row(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([SMOL, SMOL | {"path": "b.py"}])
    names = pa.Array.from_buffers(pa.string(), 2, pa.array([b"M\xffT", b"MIT"], pa.binary()).buffers())
    licences = pa.ListArray.from_arrays([0, 1, 2], names)
    pq.write_table(table.set_column(table.column_names.index("licenses"), "licenses", licences), tmp_path / "a.parquet")
    entries, documents = read(tmp_path / "a.parquet")
    assert [entry.licences for entry in entries] == [("M\ufffdT",), ("MIT",)]
    assert [one.licences for one in documents if isinstance(one, Document)] == [("M\ufffdT",), ("MIT",)]


def test_the_language_is_that_of_the_row_or_else_of_the_name(tmp_path: Path) -> None:
    rows = [
        stack_row(document(path=path)) | {"lang": lang} for path, lang in (("a.go", "Go"), ("a.rs", None), ("a.py", "Cython"), ("x", None))
    ]
    file = write_rows(rows, tmp_path / "a.parquet")
    assert [entry.language for entry in list_entries(parquet_files(file), tmp_path)] == ["Go", "Rust", "Cython", ""]


def test_only_the_columns_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, asked = write([SMOL], tmp_path / "a.parquet"), []

    class Watching:
        def __init__(self) -> None:
            self.parquet = open_parquet(file)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.parquet, name)

        def __enter__(self) -> "Watching":
            return self

        def __exit__(self, *_: object) -> None:
            self.parquet.close()

        def read_row_group(self, group: int, columns: list[str]) -> pa.Table:
            asked.append(columns)
            return self.parquet.read_row_group(group, columns=columns)

    monkeypatch.setattr("data_prep.sources.parquet.open_parquet", lambda _: Watching())
    read(file)
    assert asked == [
        ["repository_name", "path", "licenses", "lang", "size"],
        ["repository_name", "path", "licenses", "lang", "size", "content"],
    ]
