"""A folder of somebody's own code: what is taken, what is left out and why."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from codenas.errors import CorpusError
from data_prep.document import Document, Entry
from data_prep.sources import code_folder
from data_prep.sources.code_folder import CodeFolder

ROOT = Path(__file__).parents[3]
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software\nThis shall be included in all copies"


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def git(folder: Path, *command: str) -> None:
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *command], cwd=folder, env=settings, check=True, capture_output=True
    )


def places(folder: CodeFolder) -> list[tuple[str, str]]:
    return [entry.key for entry in folder.find()]


def outcomes(folder: CodeFolder) -> dict[str, Document | str]:
    return {entry.file: folder.objection(entry) or folder.read(entry) for entry in folder.find()}


def test_of_one_project_each_folder_is_taken_for_a_repository(tmp_path: Path) -> None:
    files = {"app.py": "a = 1\n", "src/b.py": "b = 1\r\n", "src/deep/c.go": "package c\n", "notes.txt": "no code", "LICENSE": MIT}
    folder = CodeFolder(write(tmp_path / "mine", files), 100)
    assert places(folder) == [("mine", "app.py"), ("mine/src", "b.py"), ("mine/src/deep", "c.go")]
    assert outcomes(folder)["src/b.py"] == Document("mine/src", "b.py", ("MIT",), "Python", "b = 1\n")
    assert folder.description == "code: mine"


def test_git_says_what_belongs_to_a_checkout(tmp_path: Path) -> None:
    files = {"kept.py": "x", "new.py": "x", "built.py": "x", ".gitignore": "built.py\nout/\n", "out/d.py": "x", "lost.py": "x"}
    folder = write(tmp_path / "mine", files)
    git(folder, "init", "-q")
    git(folder, "add", "kept.py", "lost.py")
    (folder / "lost.py").unlink()
    assert [path for _, path in places(CodeFolder(folder, 100))] == ["kept.py", "new.py"]
    assert [path for _, path in places(CodeFolder(folder / "out", 100))] == ["d.py"]  # asked for by name, ignored or not


def test_the_environment_of_a_git_hook_names_no_other_repository(tmp_path: Path) -> None:
    other, folder = (write(tmp_path / name, {f"{name}.py": "x"}) for name in ("other", "mine"))
    for one in (other, folder):
        git(one, "init", "-q")
        git(one, "add", ".")
    (folder / "hooked.py").write_text("x")
    script = "import sys; from pathlib import Path; from data_prep.sources.code_folder import CodeFolder\n"
    script += "print(*(entry.path for entry in CodeFolder(Path(sys.argv[1]), 100).find()))"
    hook = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / ".git/index"), "GIT_PREFIX": ""}
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, env={**os.environ, **hook}, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hooked.py", "mine.py"]


@pytest.mark.parametrize("asked", ["mine", "mine/src"])
def test_a_checkout_of_another_owner_gives_nothing_and_the_remedy(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "mine", {".gitignore": "secret.py\n", "src/a.py": "x", "src/secret.py": "x"})
    git(folder, "init", "-q")
    monkeypatch.setitem(code_folder._environment(), "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(CorpusError, match=r"git cannot list .*dubious ownership.*run: git config --global --add safe.directory ") as caught:
        CodeFolder(tmp_path / asked, 100).find()
    assert "\n" not in str(caught.value)


def test_a_folder_below_a_broken_repository_gives_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {".git/HEAD": "nonsense", "src/a.py": "x"})
    with pytest.raises(CorpusError, match=r"git cannot list .*src: fatal: not a git repository.*; repair the checkout"):
        CodeFolder(folder / "src", 100).find()


def test_three_checkouts_are_repositories(tmp_path: Path) -> None:
    for name in ("one", "two", "group/three"):
        write(tmp_path / "all" / name, {"src/a.py": "x", "LICENSE": MIT if name == "one" else "Mine alone."})
        git(tmp_path / "all" / name, "init", "-q")
    found = CodeFolder(tmp_path / "all", 100).find()
    assert [(entry.repository, entry.path, entry.licences) for entry in found] == [
        ("all/group/three", "src/a.py", ("LicenseRef-unknown",)),
        ("all/one", "src/a.py", ("MIT",)),
        ("all/two", "src/a.py", ("LicenseRef-unknown",)),
    ]


def test_the_nearest_licence_counts(tmp_path: Path) -> None:
    files = {
        "a.py": "x",
        "LICENSE": MIT,
        "lib/b.py": "x",
        "lib/COPYING": "GNU GENERAL PUBLIC LICENSE",
        "lib/deep/c.py": "x",
        "license.py": "x",
    }
    licences = {entry.file: entry.licences for entry in CodeFolder(write(tmp_path / "mine", files), 100).find()}
    assert licences == {"a.py": ("MIT",), "license.py": ("MIT",), "lib/b.py": ("GPL",), "lib/deep/c.py": ("GPL",)}
    assert CodeFolder(write(tmp_path / "none", {"a.py": "x"}), 100).find()[0].licences == ()


def test_bad_files_have_reasons(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "good.py": "x = 1\n", "latin.py": "é".encode("latin-1"), "surrogate.py": b"'\xed\xa0\x80'", "nul.py": b"x = '\0'\n",
        "large.py": "#" * 101, "node_modules/a/b.js": "x", ".venv/lib/c.py": "x", "src/vendor/d.py": "x",
    }  # fmt: skip
    folder = CodeFolder(write(tmp_path / "mine", files), 100)
    found = outcomes(folder)
    assert isinstance(found.pop("good.py"), Document)
    assert found == {
        "latin.py": "not UTF-8", "surrogate.py": "not UTF-8", "nul.py": "binary", "large.py": "too large",
        "node_modules/a/b.js": "vendored copy", ".venv/lib/c.py": "vendored copy", "src/vendor/d.py": "vendored copy",
    }  # fmt: skip


def test_an_environment_is_known_by_its_file_and_not_by_its_name(tmp_path: Path) -> None:
    files = {
        "env/a.py": "x",
        "venv/b.py": "x",
        "other/pyvenv.cfg": "",
        "other/lib/c.py": "x",
        "conda/conda-meta/history": "",
        "conda/d.py": "x",
    }
    folder = write(tmp_path / "mine", files)
    found = outcomes(CodeFolder(folder, 100))
    assert {file for file, one in found.items() if isinstance(one, Document)} == {"env/a.py", "venv/b.py"}
    assert (found["other/lib/c.py"], found["conda/d.py"]) == ("vendored copy", "vendored copy")
    assert isinstance(outcomes(CodeFolder(folder / "other", 100))["lib/c.py"], Document)  # asked for by name


def test_a_file_that_grew_or_went_is_told_when_it_is_read(tmp_path: Path) -> None:
    folder = CodeFolder(write(tmp_path / "mine", {"a.py": "x", "b.py": "x"}), 100)
    first, second = folder.find()
    (tmp_path / "mine/a.py").write_text("#" * 50_000_000)  # one line
    (tmp_path / "mine/b.py").unlink()
    assert (folder.read(first), folder.read(second)) == ("too large", "unreadable")


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.py": "x"})
    folder = write(tmp_path / "mine", {"src/a.py": "x"})
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "src/out").symlink_to(outside, target_is_directory=True)
    (folder / "src/b.py").symlink_to(outside / "secret.py")
    assert places(CodeFolder(folder, 100)) == [("mine/src", "a.py")]
    git(folder, "init", "-q")
    write(folder, {"moved/secret.py": "x"})
    git(folder, "add", "moved")
    (folder / "moved/secret.py").unlink()
    (folder / "moved").rmdir()
    (folder / "moved").symlink_to(outside, target_is_directory=True)  # what git tracks would now lead out
    assert places(CodeFolder(folder, 100)) == [("mine/src", "a.py")]


def test_settings_of_a_checkout_run_no_program(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"a.py": "x"})
    git(folder, "init", "-q")
    program = write(tmp_path, {"evil.sh": f"#!/bin/sh\ntouch {tmp_path}/ran\n"}) / "evil.sh"
    program.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(program))
    assert places(CodeFolder(folder, 100)) == [("mine", "a.py")]
    assert not (tmp_path / "ran").exists()


def test_names_that_no_table_can_hold_are_counted_and_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"a.py": "x", "two\nlines.py": "x"})
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.py")).write_text("x")
    found = outcomes(CodeFolder(folder, 100))
    assert isinstance(found.pop("a.py"), Document)
    assert found == {"two\nlines.py": "unprintable name", "\udcff.py": "unprintable name"}
    own = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert outcomes(CodeFolder(write(own, {"a.py": "x"}), 100)) == {"a.py": "unprintable name"}


def test_a_folder_that_is_none_and_a_broken_checkout_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no folder .*nowhere; give one of your own code"):
        CodeFolder(tmp_path / "nowhere", 100)
    folder = write(tmp_path / "mine", {"a.py": "x", ".git/HEAD": "nonsense"})
    with pytest.raises(CorpusError, match=r"git cannot list .*mine: fatal: .*; repair the checkout") as caught:
        CodeFolder(folder, 100).find()
    assert "\n" not in str(caught.value)


def test_entries_are_in_order(tmp_path: Path) -> None:
    files = {f"{folder}/{name}.py": "x" for folder in "ba" for name in "21"}
    found: list[Entry] = CodeFolder(write(tmp_path / "mine", files), 100).find()
    assert [entry.file for entry in found] == ["a/1.py", "a/2.py", "b/1.py", "b/2.py"]
