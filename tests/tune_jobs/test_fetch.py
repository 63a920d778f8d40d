"""A run is brought from a cluster: what comes is what is there, or nothing. By way of a client: tests/cli/test_remote.py."""

from pathlib import Path, PurePosixPath

import pytest

from codenas.errors import ResourceError, RunError
from tune_jobs import fetch as module
from tune_jobs.fetch import BLOCK_BYTES, Entry, fetch

pytestmark = pytest.mark.cluster

RESULTS = {
    "search/job.json": b"{}",
    "search/trials.jsonl": b"",
    "search/checkpoints/c000/50/model.safetensors": bytes(range(256)) * (BLOCK_BYTES // 256 + 10),  # more than a block
    "front.png": b"\x89PNG",
    "corpus": b"/shared/corpora/mine\n",
}
STATES = {"search/checkpoints/c000/50/training.safetensors": b"state", "last/model.safetensors": b"half"}
HIDDEN = {".lock": b"17", "search/.result.json.x1": b"half"}


@pytest.fixture
def run(tmp_path: Path) -> PurePosixPath:
    for name, content in {**RESULTS, **STATES, **HIDDEN}.items():
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "there" / "link").symlink_to("/etc/passwd")
    return PurePosixPath(tmp_path / "there")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_come_and_states_on_request(ray_cluster: Path, run: PurePosixPath, tmp_path: Path) -> None:
    fetched = fetch(run, tmp_path / "here" / "run", everything=False)
    assert _files(tmp_path / "here" / "run") == RESULTS
    assert (fetched.files, fetched.size_bytes) == (len(RESULTS), sum(map(len, RESULTS.values())))
    fetch(run, tmp_path / "all", everything=True)
    assert _files(tmp_path / "all") == {**RESULTS, **STATES}


def test_what_is_here_already_is_left_alone(run: PurePosixPath, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{tmp_path} already exists; choose another --output"):
        fetch(run, tmp_path, everything=False)


def test_what_is_no_run_there_is_said(ray_cluster: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="on the cluster: /nowhere contains no search; give the path of --run"):
        fetch(PurePosixPath("/nowhere"), tmp_path / "here", everything=False)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (Entry("front.png", 4, "0" * 64), "front.png changed during the transfer: the run is still active; fetch it again"),
        (Entry("gone.json", 4, "0" * 64), "gone.json changed during the transfer"),
        (Entry("../there/front.png", 4, "0" * 64), "the cluster names a file outside the run .'../there/front.png'.; do not trust it"),
        (Entry("/etc/hostname", 4, "0" * 64), "the cluster names a file outside the run"),
    ],
)
def test_a_file_that_changes_or_leads_elsewhere_ends_it(
    listed: Entry, message: str, ray_cluster: Path, run: PurePosixPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(_run: str, _everything: bool) -> list[Entry]:
        return [listed]

    monkeypatch.setattr(module, "list_files", lying)
    with pytest.raises(RunError, match=message):
        fetch(run, tmp_path / "here", everything=False)
    assert not (tmp_path / "here").exists()


def test_another_fault_there_is_said(ray_cluster: Path, run: PurePosixPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(_run: str, _everything: bool) -> list[Entry]:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(module, "list_files", faulty)
    with pytest.raises(
        ResourceError,
        match=f"the cluster cannot read {run} .PermissionError: Permission denied.; has it another version of CodeNAS?",
    ):
        fetch(run, tmp_path / "here", everything=False)
