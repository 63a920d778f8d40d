"""What a change costs: a suite is one file, a metric its `MetricInfo` and one file, and both are seen wherever results are shown.

The packages are copied, the files are added to the copy, and a small run goes through its commands there.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import SMALL_SEARCH, tiny_corpus
from tests.processes import import_from_copy

ROOT = Path(__file__).parents[2]

TOY_SUITE = """
from codenas.evaluate.evaluation import Row
from codenas.evaluate.suites.base import EvaluationSubject, Suite, SuiteResult


class ToyResult(SuiteResult):
    score: float

    def rows(self) -> tuple[Row, ...]:
        return (Row(name="toy score", value=f"{self.score:.1f} toys", reference="human 1.0"),)

    def distrust(self) -> tuple[str, ...]:
        return ("a toy has no meaning",)


def run(subject: EvaluationSubject) -> ToyResult:
    return ToyResult(score=42.5)


SUITE = Suite("toy", ToyResult, (), run)
"""
TOY_INFO = (
    '    toy_points: Annotated[NonNegativeFloat | None, MetricInfo("toy points", "toys", "untrained", "maximize", unit="pt")] = None\n'
)
LATER_STAGES = """
[train]
steps = 6
threads = 1
[evaluate]
tokens = 64
prompts = 2
prompt_tokens = 8
completion_tokens = 8
latency_tokens = 2
"""
BEFORE = "    latency_context: LatencyContext | None = None"
TOY_MEASUREMENT = """
from codenas.measure.measurements.base import Measurement, MeasurementSubject
from codenas.metrics import Metrics


def measure(subject: MeasurementSubject) -> Metrics:
    return Metrics(toy_points=1000 + subject.model.arch.d_model)


MEASUREMENT = Measurement(("toy_points",), measure, "its toys were counted")
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command shows, by its name, of two runs with the toys as an objective and in the evaluation."""
    folder = tmp_path_factory.mktemp("changed")
    for package in ("codenas", "data_prep", "serve", "tune_jobs"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "codenas/evaluate/suites/toy.py").write_text(TOY_SUITE)
    (folder / "codenas/measure/measurements/toy.py").write_text(TOY_MEASUREMENT)
    metrics = folder / "codenas/metrics.py"
    text = metrics.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    metrics.write_text(text.replace(BEFORE, TOY_INFO + BEFORE), encoding="utf-8")
    tiny_corpus(folder / "corpus")
    toys = '{ metric = "bits_per_byte", weight = 1.0 }, { metric = "toy_points", limit = 1 }'
    job = SMALL_SEARCH.replace('{ metric = "bits_per_byte", weight = 1.0 }', toys)
    (folder / "job.toml").write_text(job + LATER_STAGES)
    script = "import contextlib, io, json, sys\nfrom typer.testing import CliRunner\nfrom codenas.cli.app import app\nshown = {}\n"
    script += "for name, *words in json.loads(sys.argv[1]):\n    done = CliRunner().invoke(app, [name, *words], env={'COLUMNS': '400'})\n"
    script += "    assert done.exit_code == 0, done.output\n    shown[name] = done.output\nprint(json.dumps(shown))"
    searches = [["search", "--no-ray", "--run", run, "--corpus", "corpus", "--job", "job.toml"] for run in ("first", "second")]
    searches[1] += ["--set", "search.seed=5"]
    stages = [[stage, "--run", "first", "--job", "job.toml"] for stage in ("train", "evaluate")]
    commands = [*searches, *stages, ["status", "first"], ["compare", "first", "second"], ["report", "first"]]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        cwd=folder, env={**os.environ, **import_from_copy(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs: dict[str, str] = json.loads(done.stdout)
    return outputs | {"report": (folder / "first" / "report.html").read_text(encoding="utf-8")}


@pytest.mark.parametrize("view", ["evaluate", "status", "compare", "report"])
def test_a_suite_in_one_file_is_shown_by(view: str, shown: dict[str, str]) -> None:
    assert "toy score" in shown[view] and "42.5 toys" in shown[view]


@pytest.mark.parametrize("view", ["search", "status", "compare", "report"])
def test_a_metric_in_one_file_is_shown_by(view: str, shown: dict[str, str]) -> None:
    heading = "toy points" if view == "report" else "toys"
    assert heading in shown[view] and "pt" in shown[view] and "1,0" in shown[view]


def test_the_warnings_of_a_suite_are_logged_and_on_the_page(shown: dict[str, str]) -> None:
    assert "a toy has no meaning" in shown["evaluate"] and "a toy has no meaning" in shown["report"]
