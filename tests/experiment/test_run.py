"""The folder of a run: what it names, what it cannot, and what is shown of a read-only one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.cli.app import app
from codenas.errors import RunError
from codenas.experiment.run import Run, open_run
from tests.cli.commands import complaint
from tests.fakes import SMALL_SEARCH, make_read_only, small_disk, tiny_corpus
from tune_jobs.cluster import local as cluster

JOB = f"""{SMALL_SEARCH}
[train]
steps = 6
threads = 1
[evaluate]
tokens = 256
prompts = 2
prompt_tokens = 8
completion_tokens = 8
latency_tokens = 4
"""


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x80", b"/corpora\x00/mine", b"a\nb"])
def test_a_pointer_that_names_no_corpus_says_the_way_out(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(content)
    with pytest.raises(RunError, match=f"{tmp_path / 'corpus'} does not name the folder of a corpus; remove it and name one again"):
        Run(tmp_path).use_corpus(tmp_path / "other")


def test_a_pointer_names_a_corpus_in_any_script(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("/corpora/größe\n", encoding="utf-8")
    assert Run(tmp_path).corpus == Path("/corpora/größe")


def test_a_corpus_may_be_named_by_any_path_to_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "corpus").write_text(f"{tmp_path / 'run' / '..' / 'mine'}\n")
    for path in (tmp_path / "mine", tmp_path / "link", tmp_path / "run" / ".." / "mine"):
        assert run.use_corpus(path) == run.corpus
    with pytest.raises(RunError, match="choose another --run"):
        run.use_corpus(tmp_path / "other")


def test_a_refused_search_leaves_no_run(tmp_path: Path) -> None:
    corpus, run = tiny_corpus(tmp_path / "corpus").path, tmp_path / "run"
    options = ("search", "--no-ray", "--run", run, "--corpus", corpus)
    assert "no architecture can meet the limit" in complaint(*options, "--max-mb", "0.0001")
    assert not run.exists()
    run.mkdir()
    assert "no architecture can meet the limit" in complaint(*options, "--max-mb", "0.0001")
    assert run.exists(), "a folder that was there stays"


def test_a_run_that_holds_a_result_stays_when_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError), open_run(tmp_path / "run") as run:
        run.search.mkdir()
        raise RunError
    assert (tmp_path / "run" / "search").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", kilobytes=300_000) as disk:
        yield disk


def _codenas(command: str, run: Path, *more: str) -> Result:
    job = run.parents[1] / "job.toml"
    job.write_text(JOB)
    return CliRunner().invoke(app, [command, "--run", str(run), "--job", str(job), *more])


def test_a_finished_run_that_may_only_be_read_is_shown_and_no_more_is_begun(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "local_ray", lambda *_: pytest.fail("Ray was started"))
    corpus, stages = tiny_corpus(tmp_path / "corpus"), {"search": ["--no-ray"], "train": [], "evaluate": []}
    for name in ("finished", "searched", "trained", "begun"):
        (disk / name).mkdir()
        (disk / name / "corpus").write_text(f"{corpus.path}\n")
    for name, done in (("finished", 3), ("trained", 2), ("searched", 1)):
        for stage in list(stages)[:done]:
            assert _codenas(stage, disk / name, *stages[stage]).exit_code == 0
    (disk / "bare").mkdir()
    make_read_only(disk)
    for stage in stages:
        shown = _codenas(stage, disk / "finished")
        assert shown.exit_code == 0, shown.output
    for stage, name in (("demo", "bare"), ("search", "begun"), ("train", "searched"), ("evaluate", "trained")):
        refused = _codenas(stage, disk / name)
        line = f"codenas: {disk / name} is read-only, and this stage is not finished; make it writable or choose another --run\n"
        assert (refused.exit_code, refused.stderr) == (2, line)
