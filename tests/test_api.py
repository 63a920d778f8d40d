"""The public Python API, on a tiny corpus; the example of the README runs as it is printed."""

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import codenas
from codenas import api
from codenas.errors import CheckpointError, ConfigError, CorpusError, RunError
from codenas.experiment.jobs import TrialResources
from codenas.train.config import TrainConfig
from tests.fakes import tiny_corpus

ROOT = Path(__file__).parents[1]
SPACE = {"base": {"d_model": 16, "n_layers": 1, "context_len": 32}, "choices": {"d_model": [16, 32], "norm": ["rmsnorm", "layernorm"]}}
JOB = codenas.SearchJob.model_validate(
    {
        "space": SPACE,
        "budget": codenas.Budget(candidates=3, rungs=(2, 4), promote=(2,)),
        "objectives": (codenas.Objective(metric="bits_per_byte", weight=1.0),),
        "trial": TrialResources(score_tokens=128, latency_tokens=4),
        "train": TrainConfig(batch_size=2, warmup_steps=1),
    }
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> codenas.Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpora") / "mine")


@pytest.fixture(scope="module")
def run(corpus: codenas.Corpus, tmp_path_factory: pytest.TempPathFactory) -> codenas.SearchRun:
    return codenas.run_search(corpus, tmp_path_factory.mktemp("runs") / "mine", JOB)


def test_importing_codenas_imports_none_of_it() -> None:
    lines = "import sys, codenas; dir(codenas); print([name for name in sys.modules if name.startswith(('codenas.', 'torch', 'pydantic'))])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_codenas_offers_what_the_api_offers() -> None:
    assert codenas.__all__ == api.__all__
    assert {*codenas.__all__} <= {*dir(codenas)}
    for name in codenas.__all__:
        assert getattr(codenas, name) is getattr(api, name)
        assert getattr(api, name).__doc__, f"{name} has no docstring"


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing `codenas.search` would put the package in the place of a function of this name."""
    modules = {path.stem for path in Path(api.__file__).parent.iterdir()}
    assert not modules & {*codenas.__all__}


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'laod'; it has .*load"):
        _ = codenas.laod  # type: ignore[attr-defined]


def test_a_search_has_a_winner_on_its_front(run: codenas.SearchRun) -> None:
    assert run.finished and run.job == JOB
    assert len(run.trials) == 3 and run.winner in run.front
    assert run.result.steps == 3 * 2 + 2 * 2
    assert {trial.report(4) is not None for trial in run.front} == {True}


def test_the_result_is_read_from_the_folder(run: codenas.SearchRun, corpus: codenas.Corpus) -> None:
    again = codenas.open_run(str(run.folder))
    assert again == run and again.winner == run.winner
    assert again.corpus.path == corpus.path.absolute()
    assert codenas.open_corpus(str(corpus.path)).manifest == corpus.manifest


def test_the_same_search_again_returns_what_was_found(run: codenas.SearchRun, corpus: codenas.Corpus) -> None:
    assert codenas.run_search(corpus.path, run.folder, JOB).trials == run.trials
    with pytest.raises(RunError, match="another job"):
        codenas.run_search(corpus, run.folder, "tiny")


def test_the_winner_completes(run: codenas.SearchRun) -> None:
    model = run.load_winner(device="cpu")
    answer = model.complete("def add_count(count, total):", max_tokens=8, temperature=0.8, seed=3)
    assert answer and answer == model.complete("def add_count(count, total):", max_tokens=8, temperature=0.8, seed=3)
    assert answer != model.complete("def add_count(count, total):", max_tokens=8, temperature=0.8, seed=4)
    stopped = model.complete("def add_count(count, total):", max_tokens=8, temperature=0.8, seed=3, stop=(answer[1:3],))
    assert stopped == answer[:1]
    assert model.arch == run.winner.candidate.design.stored_arch
    assert model.size_bytes == model.metrics.size_bytes


def test_in_a_notebook_a_value_is_shown_as_the_folder_that_it_comes_from(run: codenas.SearchRun) -> None:
    model = run.load_winner(device="cpu")
    for value, path in ((run, run.folder), (run.corpus, run.corpus.path), (model, model.checkpoint.path)):
        assert str(path) in repr(value) and len(repr(value)) < len(str(path)) + 60


def test_a_checkpoint_folder_loads_as_its_model_does(run: codenas.SearchRun) -> None:
    winner = run.load_winner(device="cpu")
    assert codenas.load(winner.checkpoint.path, device="cpu").complete("x = ", temperature=0) == winner.complete("x = ", temperature=0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"temperature": -1}, "temperature: .*greater than or equal to 0"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"top_p": 0}, "top_p"),
        ({"suffix": "    return total"}, "was not trained to fill in the middle"),
    ],
)
def test_what_a_model_cannot_do_is_refused(run: codenas.SearchRun, asked: dict[str, float | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run.load_winner(device="cpu").complete("x", **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [-1.0, 0.0, math.inf, math.nan])
def test_a_limit_is_a_number_above_zero(corpus: codenas.Corpus, tmp_path: Path, limit: float) -> None:
    with pytest.raises(ConfigError, match=f"max_mb {limit:g} must be a number above 0"):
        codenas.run_search(corpus, tmp_path / "run", JOB, max_mb=limit)
    with pytest.raises(ConfigError, match=f"max_ms {limit:g} must be a number above 0"):
        codenas.run_search(corpus, tmp_path / "run", JOB, max_ms=limit)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "value"), [("cpus", 2), ("address", "auto")])
def test_an_option_of_ray_is_refused_where_the_search_runs_without_it(
    corpus: codenas.Corpus, tmp_path: Path, option: str, value: int | str
) -> None:
    with pytest.raises(ConfigError, match=f"{option} {value} has no effect on a search without Ray; leave it out, or"):
        codenas.run_search(corpus, tmp_path / "run", JOB, **{option: value})  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "search").exists()


def test_the_winner_is_trained_and_loaded_again(run: codenas.SearchRun, corpus: codenas.Corpus, tmp_path: Path) -> None:
    copied = codenas.open_run(shutil.copytree(run.folder, tmp_path / "run"))
    model = copied.train(steps=6, job=codenas.TrainJob(threads=1), device="cpu")
    assert model.checkpoint.manifest.step == 6
    assert codenas.load(copied.folder, device="cpu").complete("x = ", temperature=0) == model.complete("x = ", temperature=0)
    evaluation = copied.evaluate(codenas.EvaluationSettings(tokens=256, prompts=2, prompt_tokens=8, completion_tokens=8, latency_tokens=4))
    assert evaluation.metrics.bits_per_byte and evaluation.results["bits_per_byte"].result["tokens"] == 256
    with pytest.raises(ConfigError, match="steps 0 must be at least 1"):
        copied.train(steps=0)
    with pytest.raises(ConfigError, match="3 training steps in all are fewer than the 4 of the search"):
        copied.train(steps=3)


def test_the_example_of_the_readme_runs(
    corpus: codenas.Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is printed, but for the size: a tiny job in the place of the preset, and fewer steps."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example.count('"small"') == example.count("steps=2_000") == 1
    shutil.copytree(corpus.path, tmp_path / "corpora" / "mine")
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace('"small"', "JOB").replace("steps=2_000", "steps=6"), "README.md", "exec"), {"JOB": JOB})
    shown = capsys.readouterr().out
    assert re.search(r"^c00\d: \d\.\d{3} bits per byte, 0\.\d\d MB$", shown, re.MULTILINE)
    assert codenas.load("runs/mine").checkpoint.manifest.step == 6


def test_an_unknown_preset_is_refused(corpus: codenas.Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of tiny, small, medium, full"):
        codenas.run_search(corpus, tmp_path / "run", "huge")


def test_what_is_not_there_is_named_with_the_way_out(corpus: codenas.Corpus, run: codenas.SearchRun, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no trained model yet; run: codenas train --run {run.folder}"):
        codenas.load(run.folder)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        codenas.load(tmp_path)
    with pytest.raises(RunError, match="run `codenas train` first"):
        run.evaluate()
    with pytest.raises(CorpusError, match="there is no corpus"):
        codenas.open_corpus(tmp_path)
    with pytest.raises(RunError, match="holds no search"):
        codenas.open_run(tmp_path)
    assert issubclass(RunError, codenas.UserError) and issubclass(codenas.UserError, codenas.CodeNASError)


def test_a_search_without_a_result_can_be_read(run: codenas.SearchRun, tmp_path: Path) -> None:
    folder = tmp_path / "begun" / "search"
    folder.mkdir(parents=True)
    for name in ("job.json", "trials.jsonl"):
        (folder / name).write_bytes((run.folder / "search" / name).read_bytes())
    begun = codenas.open_run(tmp_path / "begun")
    assert not begun.finished and begun.trials == run.trials
    with pytest.raises(RunError, match="is not finished; run it again to resume it"):
        _ = begun.winner


@pytest.mark.cluster
def test_on_ray_a_search_finds_the_same(run: codenas.SearchRun, corpus: codenas.Corpus, tmp_path: Path) -> None:
    """In a process of its own: `run_search` starts a Ray and ends it."""
    (tmp_path / "job.json").write_text(JOB.model_dump_json())
    script = f"""
import codenas
job = codenas.SearchJob.model_validate_json(open({str(tmp_path / "job.json")!r}).read())
run = codenas.run_search({str(corpus.path)!r}, {str(tmp_path / "run")!r}, job, ray=True, cpus=1)
import ray
assert not ray.is_initialized()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)
    assert _scores(codenas.open_run(tmp_path / "run")) == _scores(run)


def _scores(run: codenas.SearchRun) -> list[list[float | None]]:
    return [[report.metrics.bits_per_byte for report in trial.reports] for trial in run.trials]
