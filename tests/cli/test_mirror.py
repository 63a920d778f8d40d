"""`codenas search --mirror URL`: the search lies there too, and another machine goes on with it by name."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import codenas, shown
from tests.fakes import SMALL_SEARCH, tiny_corpus


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus, a job file, a run whose search is finished, and its mirror."""
    folder = tmp_path_factory.mktemp("mirrored")
    tiny_corpus(folder / "corpus")
    (folder / "job.toml").write_text(SMALL_SEARCH)
    shown("search", "--no-ray", "--run", folder / "run", "--mirror", url(folder), *new_search(folder))
    return folder


@pytest.fixture
def interrupted(finished: Path, tmp_path: Path) -> Path:
    """The same folder, as it was when the last event had not been noted yet."""
    shutil.copytree(finished, tmp_path / "interrupted")
    folder = tmp_path / "interrupted"
    path = folder / "run" / "search" / "trials.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    max((folder / "mirror" / "trials").rglob("*.jsonl")).unlink()
    for path in (folder / "run" / "search", folder / "mirror"):
        (path / "result.json").unlink()
    (folder / "run" / "mirror").write_text(f"{url(folder)}\n")
    (folder / "run" / "corpus").write_text(f"{folder / 'corpus'}\n")
    return folder


def url(folder: Path) -> str:
    return (folder / "mirror").as_uri()


def new_search(folder: Path) -> list[str | Path]:
    return ["--corpus", folder / "corpus", "--job", folder / "job.toml", "--max-mb", "5"]


def found(folder: Path) -> dict[str, object]:
    result = json.loads((folder / "result.json").read_text())
    return {name: result[name] for name in ("winner", "finalists", "steps")}


def complaint(*arguments: str | Path) -> str:
    done = codenas(*arguments)
    assert (done.exit_code, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.output
    return done.stderr


def test_nothing_but_the_search_is_left_there(finished: Path) -> None:
    assert {path.name for path in (finished / "mirror").iterdir()} == {"job.json", "result.json", "trials", "checkpoints"}


def test_another_machine_continues_from_the_url_alone(finished: Path, interrupted: Path) -> None:
    run = interrupted / "elsewhere"
    shown("search", "--no-ray", "--resume", run, "--mirror", url(interrupted), "--corpus", interrupted / "corpus")
    assert found(run / "search") == found(finished / "run" / "search") == found(interrupted / "mirror")
    assert json.loads((run / "search" / "result.json").read_text())["session_steps"] == 0, "the rung was stored: it is told, not trained"
    assert (run / "mirror").read_text().strip() == url(interrupted)


def test_a_machine_that_lacks_the_corpus_is_reported(interrupted: Path) -> None:
    run = interrupted / "elsewhere"
    message = complaint("search", "--resume", run, "--mirror", url(interrupted))
    assert f"the corpus of {run} is not at {run / 'corpus'} on this machine; name it with --mirror {url(interrupted)} --corpus" in message


def test_a_new_run_of_the_same_job_continues_too(finished: Path, interrupted: Path) -> None:
    shown("search", "--no-ray", "--run", interrupted / "elsewhere", "--mirror", url(interrupted), *new_search(interrupted))
    assert found(interrupted / "elsewhere" / "search") == found(finished / "run" / "search")


def test_a_run_remembers_its_mirror(finished: Path, interrupted: Path) -> None:
    shown("search", "--no-ray", "--resume", interrupted / "run")
    assert found(interrupted / "mirror") == found(finished / "run" / "search")


def test_a_run_has_one_mirror(interrupted: Path, tmp_path: Path) -> None:
    run, other = interrupted / "run", (tmp_path / "other").as_uri()
    message = complaint("search", "--no-ray", "--resume", run, "--mirror", other)
    assert f"{run} is mirrored at {url(interrupted)}, not at {other}; choose another --run, or remove {run / 'mirror'}" in message


def test_a_mirror_of_another_search_is_refused_before_ray_starts(finished: Path, tmp_path: Path) -> None:
    message = complaint("search", "--run", tmp_path / "run", "--mirror", url(finished), *new_search(finished)[:-1], "6")
    assert f"{url(finished)} holds a search with another job or another corpus; choose another --mirror" in message
    assert not (tmp_path / "run" / "mirror").exists() and not (tmp_path / "run" / "search").exists()


def test_an_illegal_option_is_refused_before_anything_is_made(finished: Path, tmp_path: Path) -> None:
    for option in (["--max-mb", "0"], ["--weights", "charm=1"]):
        complaint("search", "--run", tmp_path / "run", "--mirror", (tmp_path / "mirror").as_uri(), "--corpus", finished / "corpus", *option)
        assert not list(tmp_path.iterdir())


def test_an_empty_mirror_holds_no_search(tmp_path: Path) -> None:
    message = complaint("search", "--resume", tmp_path / "run", "--mirror", (tmp_path / "mirror").as_uri())
    assert "holds no search; run `codenas search` first" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ftp://a/b", "is not supported; supported are s3://BUCKET/FOLDER"),
        ("file:///proc/none", "cannot be reached"),
        ("s3://key:secret@bucket/x", "--mirror contains a key"),
    ],
)
def test_a_mirror_that_cannot_be_is_refused_before_ray_starts(
    given: str, message: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codenas.experiment.objects.PAUSES_S", ())
    assert message in complaint("search", "--run", tmp_path / "run", "--mirror", given, *new_search(finished))
