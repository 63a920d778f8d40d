"""Tables: read the same from every format; what is missing or no number is named with its place."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from codenas.errors import ConfigError
from codenas.metrics import LatencyContext
from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.replay.table import Row, Table, context_cells, context_of, read_lines, write_table
from tests.search.tables import synthetic_rows, synthetic_table

ROWS: list[Row] = [
    {"choice.kind": "a", "params": 10, "loss@50": 3.0, "loss@300": 2.0},
    {"choice.kind": "b+a", "params": 20, "loss@50": 2.5},
]


def stored(folder: Path, suffix: str, rows: list[Row]) -> Path:
    path = folder / f"table{suffix}"
    if suffix == ".parquet":
        write_table(path, rows)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"torn')
    else:
        names = dict.fromkeys(name for row in rows for name in row)
        np.savez(path, **{name: np.array([row[name] for row in rows]) for name in names}, allow_pickle=False)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_what_a_row_lacks_is_empty(suffix: str, tmp_path: Path) -> None:
    table = Table.read(stored(tmp_path, suffix, ROWS))
    assert table.columns == {"choice.kind": ["a", "b+a"], "params": [10, 20], "loss@50": [3.0, 2.5], "loss@300": [2.0, None]}
    assert len(table) == 2 and table.steps("loss") == [50, 300] and table.steps("params") == []
    assert np.isnan(table.numbers("loss@300", gaps=True)).tolist() == [False, True]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".npz"])
def test_every_format_holds_the_same(suffix: str, tmp_path: Path) -> None:
    assert Table.read(stored(tmp_path, suffix, synthetic_rows())).columns == synthetic_table().columns


def test_a_pattern_that_is_a_list_is_one_word(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"pattern": [["rwkv7", "attention"], ["attention"]]}), tmp_path / "t.parquet")
    assert Table.read(tmp_path / "t.parquet").columns == {"pattern": ["rwkv7+attention", "attention"]}


def test_choices_are_those_named_or_marked_or_the_rest() -> None:
    table = synthetic_table()
    assert list(table.choices((), ("params",))) == ["width", "depth", "kind", "multiplier"]
    assert list(table.choices(("choice.kind",), ())) == ["kind"]
    bare = Table(Path("t.npz"), {"width": [1, 2], "loss@50": [1.0, 2.0], "ms": [1.0, 2.0]})
    assert list(bare.choices((), ("loss", "ms"))) == ["width"]
    with pytest.raises(ConfigError, match=r"t.npz has no choice: all its columns are metrics, width, loss@50, ms"):
        bare.choices((), ("loss", "ms", "width"))


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "much", True])
def test_what_is_no_finite_number_is_named_with_its_row(value: float | str | None) -> None:
    table = Table(Path("t.jsonl"), {"params": [1, value]})
    with pytest.raises(ConfigError, match=r"t.jsonl, row 1: params is .* and must be a finite number; leave the row out"):
        table.numbers("params")


def test_an_empty_score_is_a_failed_training_and_nan_is_none() -> None:
    table = Table(Path("t.jsonl"), {"loss": [None, math.nan]})
    with pytest.raises(ConfigError, match="row 1: loss is nan and must be a finite number; leave it empty if that architecture could not"):
        table.numbers("loss", gaps=True)


def test_missing_columns_are_named_beside_those_that_are_there() -> None:
    with pytest.raises(ConfigError, match="t.jsonl has no column 'b', 'c'; its columns are a, d"):
        Table(Path("t.jsonl"), {"a": [1], "d": [1]}).require(["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npz", None, "there is no table .*absent.npz; record one with: codenas search record"),
        ("table.csv", b"", "is no table: its name must end in .parquet, .npz, .jsonl"),
        ("table.parquet", b"PAR", "cannot be read as parquet: "),
        ("table.npz", b"no archive", "cannot be read as npz: "),
        ("table.jsonl", b"", "has no row; there is nothing to replay"),
        ("table.jsonl", b"[1]\n", "cannot be read as jsonl: a line is no object of columns"),
        ("table.jsonl", b'{"a": {"b": 1}}\n', "cannot be read as jsonl: .* is neither a number nor a word"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Table.read(tmp_path / name)


def test_columns_of_different_lengths_are_no_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.arange(3), b=np.arange(2))
    with pytest.raises(ConfigError, match=r"the columns of .* have \[2, 3\] rows"):
        Table.read(tmp_path / "t.npz")


def test_an_array_that_would_run_code_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.array([{}, []], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read as npz: Object arrays cannot be loaded"):
        Table.read(tmp_path / "t.npz")


def test_lines_that_a_kill_tore_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 2}\n{"a"')
    assert read_lines(tmp_path / "rows.jsonl") == [{"a": 1}, {"a": 2}]
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_latencies_of_different_devices_are_refused_where_latency_is_an_objective(tmp_path: Path) -> None:
    contexts = [LatencyContext(device=name, threads=1) for name in ("H200", "H200", "EPYC")]
    rows: list[Row] = [{"latency_ms_p50": 1.0, "loss": 1.0, **context_cells(context)} for context in contexts]
    assert [context_of(row) for row in rows] == contexts and context_of({"loss": 1.0}) is None
    Table.read(stored(tmp_path, ".parquet", rows[:2])).require_like_latencies(["loss", "latency_ms_p50"])
    table = Table.read(stored(tmp_path, ".parquet", [*rows, {"loss": 2.0}]))
    table.require_like_latencies(["loss"])
    with pytest.raises(
        ConfigError, match="holds latencies of H200, 1 thread, float32 and EPYC, 1 thread, float32, which are not comparable"
    ):
        Recorded.of(table, ColumnRoles(("latency_ms_p50",), ("loss",)))
