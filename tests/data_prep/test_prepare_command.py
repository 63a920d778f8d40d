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
from tests.data_prep.example_documents import code, document, plain_stream, write_source

APP = typer.Typer()
APP.command()(prepare)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_jobs.cluster.local.local_ray", contextlib.nullcontext)
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
    with pytest.raises(ConfigError, match=r"^--vocabulary bpe-9999999 is refused: "):
        run(source, tmp_path / "corpus", "--vocabulary", "bpe-9999999")
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


def test_the_table_of_a_job_counts_and_options_overrule_it(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (tmp_path / "job.toml").write_text(
        f"[prepare]\nsource = '{source}'\nvocab_size = 300\nvalid_share = 0.1\ntest_share = 0.1\n"
        "near_dedup = { enabled = true, bands = 9 }\nmax_repository_megabytes = 0.002\n"
    )
    arguments = ["--job", str(tmp_path / "job.toml"), "--output", str(tmp_path / "corpus"), "--vocab-size", "320", "--no-near-dedup"]
    output = CliRunner().invoke(APP, arguments, catch_exceptions=False, env={"COLUMNS": "120"}).output
    assert "dropped: repository cap" in output and "vocabulary of 320" in output and "near-unique" not in output
    (tmp_path / "job.toml").write_text("[prepare]\nsauce = 'x'\n")
    with pytest.raises(ConfigError, match="unknown key prepare.sauce; did you mean 'source'"):
        run(source, tmp_path / "other", "--job", str(tmp_path / "job.toml"))


def test_languages_and_licences_are_options(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.go").write_text("package a\n")
    with pytest.raises(CorpusError, match=r"left out \(language 1\); widen --language \(it is Python\)"):
        run(tmp_path / "mine", tmp_path / "corpus")
    with pytest.raises(CorpusError, match="no file fits into valid and test: 1 files"):
        run(tmp_path / "mine", tmp_path / "corpus", "--language", "all")
    source = write_source(tmp_path / "source", [document("owner/one", "a.py", code(1, 1), "GPL")])
    with pytest.raises(CorpusError, match=r"left out \(licence 1\).*add --any-licence"):
        run(source, tmp_path / "corpus")
    with pytest.raises(CorpusError, match="no repository fits into valid and test"):
        run(source, tmp_path / "corpus", "--any-licence")
    with pytest.raises(ConfigError, match="^--language pyton is refused: 'pyton' is not a known language; did you mean 'Python'"):
        run(tmp_path / "mine", tmp_path / "corpus", "--language", "pyton")
    with pytest.raises(ConfigError, match="'fortran' is not a known language; use one of C, .*, Zig, or all for every language"):
        run(tmp_path / "mine", tmp_path / "corpus", "--language", "fortran")
