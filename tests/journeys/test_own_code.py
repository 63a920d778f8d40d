"""One's own code in a git checkout: what git ignores stays out, and a model of it is found, trained and evaluated."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import shown
from tests.data_prep.example_documents import code
from tests.journeys.steps import finish, search

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.usefixtures("shared_ray")
def test_a_checkout_becomes_a_model_without_what_git_ignores(tmp_path: Path) -> None:
    checkout, corpus, run = tmp_path / "mine", tmp_path / "corpus", tmp_path / "run"
    for package in range(12):
        for file in range(4):
            path = checkout / f"package_{package}/module_{file}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code(package, file))
    (checkout / "private").mkdir()
    (checkout / "private/secrets.py").write_text(code(99, 0).replace("computed_value", "very_private_value"))
    (checkout / ".gitignore").write_text("private/\n")
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    options = "--any-licence --vocab-size 300 --valid-share 0.15 --test-share 0.15"
    shown("prepare", "--source", checkout, "--output", corpus, *options.split())
    prepared = b"".join(path.read_bytes() for path in corpus.rglob("*.parquet") if path.is_file())
    assert b"secrets.py" not in prepared
    search(run, corpus, "--no-ray", "--max-mb", "8", overrides=["search.space=tiny"])
    finish(run)
