"""The wheel, installed into a fresh environment, works in a folder outside the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.fakes import SMALL_SEARCH, tiny_corpus

ROOT = Path(__file__).parents[1]
DATA = ("codenas/report/page.css", "codenas/report/page.js", "codenas/py.typed", "tune_jobs/grafana.json", "tune_jobs/jobs/demo.toml")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without the network, with the decoding library for one instruction set."""
    return _build(tmp_path_factory.mktemp("dist"), CMAKE_ARGS="-DCODENAS_TARGETS=portable")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and the other packages by a link to those of the tests."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, timeout=100)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text("\n".join(_packages()) + "\n")
    return folder / "bin"


def _build(folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=110, env={**os.environ, **environment})
    (path,) = folder.glob("codenas-*.whl")
    return path


def _packages() -> list[str]:
    """Where the packages of this environment lie, the checkout left out."""
    inside = [path for path in sys.path if "site-packages" in path]
    return list(dict.fromkeys([*inside, sysconfig.get_path("purelib")]))


def _run(installed: Path, folder: Path, *command: str) -> str:
    """What a command prints that ends well, with nothing of the checkout in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = f"{installed}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_that_a_command_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names, metadata = (
            set(archive.namelist()),
            archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode(),
        )
    assert set(DATA) <= names
    tracked = subprocess.run(
        ["git", "ls-files", "codenas", "tune_jobs", "serve", "data_prep"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert set(tracked.stdout.split()) <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)
    assert "Description-Content-Type: text/markdown" in metadata and "# CodeNAS" in metadata


def test_the_wheel_has_the_decoding_library(wheel: Path, installed: Path, tmp_path: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["py3", "none"] and "any" not in wheel.name
    lines = "from codenas.decode.native.library import available_targets, load_library; load_library(); print(available_targets())"
    assert "portable" in _run(installed, tmp_path, "python", "-c", lines)


def test_without_a_compiler_the_wheel_is_built_without_the_library(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-compiler")
    path = _build(tmp_path, CC=nowhere, CXX=nowhere)
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        assert not any(name.endswith(".so") for name in archive.namelist())


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = _run(installed, tmp_path, "python", "-c", "import codenas, tune_jobs; print(codenas.__file__, tune_jobs.__file__)")
    assert str(ROOT) not in where and where.count(str(installed.parent)) == 2
    assert "Usage: codenas" in _run(installed, tmp_path, "codenas", "--help")


def test_the_demo_finds_its_job_file(installed: Path, tmp_path: Path) -> None:
    lines = "from codenas.cli.job_file import DEMO_JOB, load_job; print(load_job(DEMO_JOB).search.budget.candidates, DEMO_JOB)"
    shown = _run(installed, tmp_path, "python", "-c", lines)
    assert str(installed.parent) in shown and str(ROOT) not in shown


def test_a_search_and_a_completion_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "corpus")
    (tmp_path / "job.toml").write_text(f"{SMALL_SEARCH}\n[search.train]\nbatch_size = 2\n")
    _run(installed, tmp_path, "codenas", "search", "--no-ray", "--job", "job.toml", "--corpus", "corpus", "--run", "run")
    assert {"report.html", "front.png", "search"} <= {path.name for path in (tmp_path / "run").iterdir()}
    lines = "import codenas; print(codenas.open_run('run').load_winner('cpu').complete('def add(', max_tokens=8, seed=0))"
    assert _run(installed, tmp_path, "python", "-c", lines).strip()
