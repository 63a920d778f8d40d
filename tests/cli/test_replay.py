"""`codenas search replay` from a table to lines, JSON and a picture."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.cli.app import app
from codenas.search.replay.table import write_table
from tests.search.tables import synthetic_rows

ROLES = ["--static", "params,latency_ms", "--trained", "bits_per_byte"]


def replayed(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, ["search", "replay", *map(str, arguments)])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "made-up.parquet"
    write_table(path, synthetic_rows())
    return path


def test_strategies_are_compared_in_lines_in_json_and_as_a_picture(table: Path, tmp_path: Path) -> None:
    stored, picture = tmp_path / "found.json", tmp_path / "found.png"
    done = replayed(table, "--strategy", "random,evolution", *ROLES, "--trainings", 8, "--seeds", 6, "--json", stored, "--picture", picture)
    assert done.exit_code == 0, done.output
    assert "216 rows, bits_per_byte x latency_ms, 8 trainings, 6 seeds" in done.stdout and "difference from random" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = json.loads(stored.read_text())
    assert found["objectives"] == ["bits_per_byte", "latency_ms"]
    assert [row["strategy"] for row in found["rows"]] == ["random", "evolution"]
    for row in found["rows"]:
        assert len(row["shares"]) == 8
        assert all(0 <= share["low"] <= share["mean"] <= share["high"] <= 1 for share in row["shares"])
    assert found["rows"][0]["difference"] is None and found["rows"][1]["difference"]["low"] <= found["rows"][1]["difference"]["high"]


def test_the_option_names_of_earlier_versions_are_accepted(table: Path) -> None:
    earlier = ["--free", "params,latency_ms", "--costly", "bits_per_byte"]
    assert replayed(table, "--strategy", "random", *earlier, "--trainings", 2, "--seeds", 2).exit_code == 0


def test_workers_find_what_one_process_finds(table: Path, tmp_path: Path) -> None:
    stored = [tmp_path / f"{workers}.json" for workers in (1, 2)]
    for workers, path in enumerate(stored, 1):
        ladder = ["--rungs", "50,300", "--candidates", "6", "--promote", "3", "--least", "1"]
        done = replayed(table, "--strategy", "random", *ROLES, *ladder, "--seeds", 7, "--workers", workers, "--json", path)
        assert done.exit_code == 0, done.output
    one, two = ([{**row, "seconds_per_trial": 0} for row in json.loads(path.read_text())["rows"]] for path in stored)
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "magic", *ROLES], "no strategy is called 'magic'; choose one of random, "),
        (["--strategy", "random", *ROLES, "--trainings", "300"], "the table has 216 rows; 300 trainings are too many"),
        (["--strategy", "random", "--trained", "loss"], "has no column 'loss'; its columns are choice.width"),
        (["--strategy", "random", *ROLES, "--rungs", "300,50"], "--rungs 300,50 --candidates 12 --promote 3: rungs [300, 50] must be"),
        (["--strategy", "random", *ROLES, "--rungs", "50,all"], "--rungs 50,all --candidates 12 --promote 3: rungs.1: "),
        (
            ["--strategy", "random", *ROLES, "--rungs", "50,300", "--least", "4"],
            "--promote 3 --least 4: least [4] is above the promotions [3]",
        ),
        (["--strategy", "", *ROLES], "--strategy names none; choose among random, "),
    ],
)
def test_what_the_user_can_mend_is_one_line(table: Path, arguments: list[str], message: str) -> None:
    done = replayed(table, *arguments)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
