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
    assert study.metric_names == ["bits_per_byte"]
    assert len(study.trials) == 3 and all(trial.values for trial in study.trials)
    assert {trial.user_attrs["d_model"] for trial in study.trials} == {16, 32}


def test_a_study_follows_a_search_to_its_end(tmp_path: Path) -> None:
    job, run, stored = tmp_path / "job.toml", tmp_path / "run", tmp_path / "study.db"
    job.write_text(SMALL_SEARCH)
    corpus = tiny_corpus(tmp_path / "corpus").path
    asked = ["search", "--no-ray", "--run", str(run), "--corpus", str(corpus), "--job", str(job)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    home = run / "search"
    whole, result = (home / "trials.jsonl").read_bytes(), (home / "result.json").read_bytes()
    (home / "trials.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))  # as it was before the second report
    (home / "result.json").unlink()

    def finish(seconds: float) -> None:
        (home / "trials.jsonl").write_bytes(whole)
        (home / "result.json").write_bytes(result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threading.Event.wait", lambda _, seconds: finish(seconds))
        done = CliRunner().invoke(app, ["search", "study", "--run", str(run), "--output", str(stored), "--follow"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [f"1 candidates: optuna-dashboard sqlite:///{stored}", "3 candidates, the search is finished"]
    assert len(optuna.load_study(study_name=str(run), storage=f"sqlite:///{stored}").trials) == 3


def test_a_run_without_a_search_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["search", "study", "--run", str(tmp_path), "--output", str(tmp_path / "study.db")])
    assert done.exit_code == 2 and f"{tmp_path}/search holds no search; run `codenas search` first" in done.stderr
