"""`codenas search study`: a search of whatever strategy, for Optuna's dashboard."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from codenas.cli.app import app
from tests.fakes import SMALL_SEARCH, tiny_corpus

optuna = pytest.importorskip("optuna")


def test_a_search_becomes_a_study(tmp_path: Path) -> None:
    job, run, stored = tmp_path / "job.toml", tmp_path / "run", tmp_path / "study.db"
    job.write_text(SMALL_SEARCH)
    corpus = tiny_corpus(tmp_path / "corpus").path
    searched = CliRunner().invoke(app, ["search", "--no-ray", "--run", str(run), "--corpus", str(corpus), "--job", str(job)])
    assert searched.exit_code == 0, searched.output
    done = CliRunner().invoke(app, ["search", "study", "--run", str(run), "--output", str(stored)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"3 candidates: optuna-dashboard sqlite:///{stored}\n"
    study = optuna.load_study(study_name=str(run), storage=f"sqlite:///{stored}")
    assert len(study.trials) == 3 and all(trial.values for trial in study.trials)
    assert {trial.user_attrs["d_model"] for trial in study.trials} == {16, 32}


def test_a_run_without_a_search_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["search", "study", "--run", str(tmp_path), "--output", str(tmp_path / "study.db")])
    assert done.exit_code == 2 and f"{tmp_path}/search holds no search; run `codenas search` first" in done.stderr
