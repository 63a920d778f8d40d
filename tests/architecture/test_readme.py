"""The README names every source file: a reader finds it there, with one phrase on what it is."""

from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_tree_of_the_readme_has_every_file(path: Path) -> None:
    assert any(line.split()[:1] == [path.name] for line in README.splitlines()), f"{path} is not in the tree of README.md"


def test_the_readme_is_finished() -> None:
    assert "@@" not in README
