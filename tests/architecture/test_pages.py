"""What the pages for readers name is there: files, headings, commands with their options, targets of make, benchmarks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from codenas.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "codenas|tune_jobs|serve|data_prep|docker|tests|benchmarks|docs"

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_page_is_finished(page: Path) -> None:
    assert not re.search(r"@@|TODO|FIXME", page.read_text(encoding="utf-8"))


def test_what_a_page_links_to_is_there(page: Path) -> None:
    """Files, and headings of pages; addresses elsewhere are not asked."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        place, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not heading or heading in _anchors(target.read_text(encoding="utf-8")), link


def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_every_constant_that_a_page_finds_in_a_file_is_there(page: Path) -> None:
    for constant, name in re.findall(r"`([A-Z_]+)` in\s+`([\w./]+\.py)`", page.read_text(encoding="utf-8")):
        assert re.search(rf"^{constant}\b", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE), f"{constant} in {name}"


def test_every_command_that_a_page_shows_has_its_options(page: Path) -> None:
    for words in _shown(page, "codenas"):
        command, name = typer.main.get_command(app), "codenas"
        for word in (word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)):
            inner: dict[str, Any] = getattr(command, "commands", {})
            if word not in inner:
                break
            command, name = inner[word], f"{name} {word}"
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert name != "codenas" or words[1].startswith("-") or words[1] == "COMMAND", words
        given = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--debug"}
        assert given <= options, f"{name} has no {given - options}"


def test_every_target_and_benchmark_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    named = re.findall(r"python -m benchmarks ([a-z_]+)", text)
    assert all((ROOT / "benchmarks" / f"{name}.py").exists() for name in named), named


def _anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", text)}


def _shown(page: Path, program: str) -> Iterator[list[str]]:
    """The words of the commands that a page shows, in console blocks and between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    inline = (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    for line in (*blocks.splitlines(), *inline):
        words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+|^\.venv/bin/", "", line), comments=True)
        if len(words) > 1 and words[0] == program:
            yield words
