"""The evaluation of a run: stored and found again, also one of an earlier version, and honest about its device."""

import json
from pathlib import Path

import pytest

from codenas.errors import ConfigError, RunError
from codenas.evaluate.config import EvaluationSettings
from codenas.experiment.evaluation import evaluate_run, read_evaluation
from codenas.experiment.jobs import TrainJob
from codenas.experiment.local import search_locally
from codenas.experiment.run import Run
from codenas.experiment.winner import train_winner
from tests.cli.commands import codenas
from tests.experiment.test_session import JOB
from tests.fakes import tiny_corpus

SETTINGS = EvaluationSettings(tokens=64, prompts=2, prompt_tokens=8, completion_tokens=8, latency_tokens=2)
TABLE = "[evaluate]\n" + "".join(f"{name} = {value}\n" for name, value in SETTINGS.model_dump(exclude_defaults=True).items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("run"))
    search_locally(JOB, tiny_corpus(run.corpus), run.search)
    train_winner(run, TrainJob(steps=3, threads=1))
    return run


def test_an_evaluation_is_stored_suite_by_suite_and_joined(trained: Run) -> None:
    found = evaluate_run(trained, SETTINGS)
    assert read_evaluation(trained.evaluation) == found == evaluate_run(trained, SETTINGS)
    assert {path.name for path in trained.evaluations.iterdir()} == {"bits_per_byte.json", "completions.json", "latency.json"}
    assert found.metrics.latency_context is not None and found.metrics.bits_per_byte


def test_an_evaluation_of_an_earlier_version_is_read(trained: Run) -> None:
    """It knew three suites, whose figures stood side by side, and no device."""
    found = evaluate_run(trained, SETTINGS)
    content = json.loads(trained.evaluation.read_text())
    del content["settings"]["device"], content["metrics"]["latency_context"]
    results = {name: summary["result"] for name, summary in content.pop("results").items()}
    quality = {name: value for name, value in results["bits_per_byte"].items() if name != "bits_per_byte"}
    trained.evaluation.write_text(json.dumps({**content, **quality, **results["completions"], "schema_version": 1}))
    again = evaluate_run(trained, SETTINGS)
    assert again.metrics == found.metrics.model_copy(update={"latency_context": None})
    assert again.results["bits_per_byte"] == found.results["bits_per_byte"]
    assert again.results["completions"] == found.results["completions"]
    assert "on an unknown device" in again.results["latency"].rows[0].reference
    trained.evaluation.unlink()


def test_another_device_than_that_of_the_search_is_named(
    trained: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_run(trained, SETTINGS.model_copy(update={"latency_tokens": 3}))
    assert "not comparable" not in caplog.text
    monkeypatch.setattr("codenas.measure.served.device_name", lambda *_: "H200")
    evaluate_run(trained, SETTINGS.model_copy(update={"latency_tokens": 4}))
    assert "warning: latency is measured on H200, 1 thread, " in caplog.text and "; the search decided on" in caplog.text


def test_a_device_that_is_not_there_and_a_run_without_a_model_are_one_line(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device cuda:9: torch finds no such device; available: cpu"):
        evaluate_run(trained, SETTINGS.model_copy(update={"device": "cuda:9"}))
    with pytest.raises(RunError, match="model is missing; run `codenas train` first"):
        evaluate_run(Run(tmp_path), SETTINGS)


def test_the_command_takes_device_and_threads(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(TABLE)
    done = codenas("evaluate", "--run", str(trained.folder), "--job", str(tmp_path / "job.toml"), "--device", "cpu", "--threads", "2")
    assert done.exit_code == 0, done.stderr
    told = done.stderr.replace("\n", " ")
    assert "2 threads, " in told and "wall time; the search decided on" in told
    stored = read_evaluation(trained.evaluation)
    assert stored is not None and stored.metrics.latency_context is not None and stored.metrics.latency_context.threads == 2
