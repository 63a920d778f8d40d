"""`codenas prepare`: options become settings, and the table says what happened."""

import contextlib
from pathlib import Path

import pytest
import ray
import typer
from typer.testing import CliRunner

from codenas.cli.prepare import prepare
from codenas.errors import ConfigError, CorpusError
from data_prep import pipeline
from tests.data_prep.sources import write_source
from tests.data_prep.test_pipeline import plain_stream

APP = typer.Typer()
APP.command()(prepare)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codenas.cli.cluster.local_ray", contextlib.nullcontext)
    monkeypatch.setattr(pipeline, "_stream", plain_stream)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)


def run(source: Path, output: Path, *more: str) -> str:
    arguments = [
        "--source",
        str(source),
        "--output",
        str(output),
        "--vocab-size",
        "400",
        "--valid-share",
        "0.1",
        "--test-share",
        "0.1",
        *more,
    ]
    return CliRunner().invoke(APP, arguments, catch_exceptions=False, env={"COLUMNS": "120"}).output


def test_the_table_shows_stages_drops_and_splits(tmp_path: Path) -> None:
    output = run(write_source(tmp_path / "source"), tmp_path / "corpus", "--max-repository-mb", "0.002")
    for words in ("found", "unique", "dropped: repository cap", "train", "valid", "test", "bytes/token", "vocabulary of 339"):
        assert words in output


def test_options_are_checked_as_settings(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for option, value in (("--max-mb", "-1"), ("--max-mb", "inf"), ("--max-repository-mb", "0"), ("--vocab-size", "9"), ("--workers", "0")):
        with pytest.raises(ConfigError, match=rf"^{option} {value}(\.0)? is refused: Input should be "):
            run(source, tmp_path / "corpus", option, value)
    with pytest.raises(CorpusError, match="there is no source"):
        run(tmp_path / "nowhere", tmp_path / "corpus")


def test_the_rules_of_the_corpus_are_options(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (tmp_path / "list.txt").write_text("owner/project-03\n")
    (tmp_path / "mbpp.jsonl").write_text('{"task_id": 11, "text": "Do it.", "code": "x"}\n')
    more = ["--opt-out", str(tmp_path / "list.txt"), "--decontaminate", str(tmp_path / "mbpp.jsonl")]
    output = run(source, tmp_path / "corpus", *more)
    for words in ("dropped: opted out", "near-unique", "replaced: e-mail, 0 in 0 documents"):
        assert words in output
    output = run(source, tmp_path / "without", *more, "--no-near-dedup", "--no-redact")
    assert "near-unique" not in output and "replaced" not in output
    with pytest.raises(ConfigError, match=r"the benchmark .*list.txt cannot be read"):
        run(source, tmp_path / "other", "--decontaminate", str(tmp_path / "list.txt"))
