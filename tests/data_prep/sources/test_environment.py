"""Finding the Python source of an environment."""

import os
from pathlib import Path

import pytest

from codenas.errors import CorpusError
from data_prep.config import PERMISSIVE
from data_prep.document import Document
from data_prep.rules.select import allowed_licence
from data_prep.sources.environment import Environment, foreign
from tests.data_prep.example_documents import code, install, write_environment


def test_packages_are_repositories_and_the_library_is_one_too(tmp_path: Path) -> None:
    found = write_environment(tmp_path, packages=2).find()
    assert [entry.key for entry in found] == [
        ("pypi/copyleft", "copyleft.py"),
        ("pypi/package-00", "package_00/0.py"), ("pypi/package-00", "package_00/1.py"),
        ("pypi/package-01", "package_01/0.py"), ("pypi/package-01", "package_01/1.py"),
        ("python/cpython", "asyncio/events.py"), ("python/cpython", "json.py"), ("python/cpython", "test/test_json.py"),
    ]  # fmt: skip
    assert {entry.licences for entry in found} == {("GPLv3",), ("MIT",), ("PSF-2.0",)}


def test_two_places_give_the_same_entries_whatever_their_times(tmp_path: Path) -> None:
    first, second = (write_environment(tmp_path / name, packages=3) for name in ("here", "over/there"))
    for number, file in enumerate((tmp_path / "over").rglob("*.py")):
        os.utime(file, (number, number))
    assert first.find() == second.find()
    assert first.description == second.description
    assert str(tmp_path) not in first.description + repr(first.find())


def test_links_scripts_lost_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    environment = write_environment(tmp_path, packages=0)
    site = tmp_path / "lib/python3.11/site-packages"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/script.py").write_text("#!/home/somebody/bin/python\n")
    install(
        site, "odd", {"odd.py": b"x = 1\n", "odd.pyi": b"x: int\n"}, also_listed=["../../../bin/script.py", "odd_lost.py", "odd_link.py"]
    )
    (site / "odd_link.py").symlink_to(site / "odd.py")
    (tmp_path / "lib/python3.11/loop").symlink_to(tmp_path / "lib", target_is_directory=True)
    assert [entry.path for entry in environment.find() if entry.repository == "pypi/odd"] == ["odd.py"]
    assert all("loop" not in entry.path for entry in environment.find())


def test_what_is_not_utf8_cannot_be_read(tmp_path: Path) -> None:
    environment = write_environment(tmp_path, packages=0)
    install(tmp_path / "lib/python3.11/site-packages", "old", {"latin.py": "# é\n".encode("latin-1"), "utf8.py": "# é\n".encode()})
    texts = {entry.path: environment.read(entry) for entry in environment.find() if entry.repository == "pypi/old"}
    assert texts["latin.py"] == "not UTF-8"
    assert isinstance(texts["utf8.py"], Document) and texts["utf8.py"].text == "# é\n"


def test_what_goes_or_has_no_name_does_not_end_the_job(tmp_path: Path) -> None:
    environment = write_environment(tmp_path, packages=0)
    library = tmp_path / "lib/python3.11"
    for name in (b"caf\xe9.py", b"gone.py"):
        Path(os.fsdecode(os.fsencode(library) + b"/" + name)).write_text("x = 1\n")
    found = {entry.path: entry for entry in environment.find()}
    (library / "gone.py").unlink()
    assert environment.objection(found["caf\udce9.py"]) == "unprintable name" and environment.objection(found["gone.py"]) is None
    assert environment.read(found["gone.py"]) == "unreadable"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("package/core.py", None),
        ("package/tests/core.py", "tests"),
        ("test/support.py", "tests"),
        ("package/_vendor/six.py", "vendored copy"),
        ("package/tests.py", None),
        ("contest/core.py", None),
    ],
)
def test_tests_and_vendored_copies_are_foreign(path: str, reason: str | None, tmp_path: Path) -> None:
    install(tmp_path, "package", {path: code(1, 1).encode()})
    assert [foreign(entry) for entry in Environment(tmp_path / "no library", [tmp_path]).find()] == [reason]


def test_no_source_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no Python source in .*--source"):
        Environment(tmp_path / "nothing", [tmp_path / "nowhere"]).find()


def test_this_python_has_many_permissive_repositories_and_not_ourselves() -> None:
    found = Environment().find()
    rule = allowed_licence(PERMISSIVE)
    permissive = {entry.repository for entry in found if rule(entry) is None}
    assert {"python/cpython", "pypi/numpy", "pypi/torch"} <= permissive
    assert len(permissive) > 20
    assert "pypi/codenas" not in {entry.repository for entry in found}
