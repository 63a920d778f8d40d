"""The documentation builds without a warning, and its reference pages hold what the code offers."""

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import codenas
from codenas.cli.app import app
from codenas.evaluate.config import EvaluationSettings
from codenas.experiment.jobs import RecordJob, SearchJob, TrainJob, TrialResources
from codenas.search.candidate import Budget
from codenas.search.fitness import Objective
from codenas.train.config import TrainConfig
from data_prep.config import PrepareConfig

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each page as readers see it, without its markup. A broken link, an unknown term or a docstring that cannot be read is a warning."""
    built = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", str(ROOT / "docs"), str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return {page.stem: html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))) for page in built.glob("*.html")}


def test_every_command_and_every_option_is_in_the_reference(pages: dict[str, str]) -> None:
    sections = dict(_sections(pages["cli"]))
    found = dict(_commands("codenas", typer.main.get_command(app)))
    assert {"codenas", "codenas search", "codenas search replay", "codenas tokens sample-stats"} <= set(found)
    assert "--debug" in found["codenas"] and "--no-ray" in found["codenas search"]
    for path, options in found.items():
        for option in options:
            assert option in sections[path], f"{path} {option} is not in docs/cli"


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """The words below each heading, which Sphinx ends with a mark."""
    names = re.findall(r"(?m)^(codenas[a-z -]*)#$", text)
    yield from zip(names, re.split(r"(?m)^codenas[a-z -]*#$", text)[1:], strict=True)


def _commands(path: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner or command.params:
        options = [each for each in command.params if each.param_type_name == "option"]
        yield path, [name for each in options for name in (*each.opts, *each.secondary_opts)]
    for name, each in inner.items():
        yield from _commands(f"{path} {name}", each)


@pytest.mark.parametrize("model", [PrepareConfig, SearchJob, TrainJob])
def test_every_key_of_a_job_file_is_in_the_reference(model: Any, pages: dict[str, str]) -> None:
    words = set(re.findall(r"\w+", pages["job-files"]))
    assert set(model.model_fields) <= words


@pytest.mark.parametrize("model", [SearchJob, Budget, Objective, TrialResources, TrainConfig, TrainJob, EvaluationSettings, RecordJob])
def test_every_key_of_a_job_file_has_a_meaning(model: Any) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_every_public_name_is_in_the_reference(pages: dict[str, str]) -> None:
    missing = [name for name in codenas.__all__ if f"codenas.{name}" not in pages["python-api"]]
    assert missing == []


def test_the_source_tree_is_in_the_reference(pages: dict[str, str]) -> None:
    assert re.search(r"^ +language_model\.py +The decoder-only language model", pages["architecture"], re.MULTILINE)


def test_the_glossary_has_the_words_of_the_result(pages: dict[str, str]) -> None:
    for term in ("Pareto front", "Rung", "Promotion", "Bits per byte", "Hypervolume", "Checkpoint", "Trial", "Candidate"):
        assert f"\n{term}#" in pages["glossary"]


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 200
