"""What a driver leaves behind is ended and removed, wherever it was started."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from codenas.errors import ResourceError
from tune_jobs.cluster import reaper

ROOT = Path(__file__).parents[3]

_DRIVER = """
import os, subprocess, sys
from tune_jobs.cluster.reaper import reaped_folder
with reaped_folder() as folder:
    with (folder / "log").open("w") as log:
        subprocess.Popen(["sleep", "60"], stdout=log)
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_module_in_the_users_folder_is_not_taken_for_pythons(killed: bool, tmp_path: Path) -> None:
    (tmp_path / "types.py").write_text("raise SystemExit('the module of the user was imported')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _DRIVER], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None and driver.stderr is not None
        folder = Path(driver.stdout.readline().strip())
        if killed:
            driver.send_signal(signal.SIGKILL)
        _, output = driver.communicate(timeout=30)  # ends when nobody holds standard error any more: all of them are gone
    assert output == ""
    assert not folder.exists()


_PLACE = "import os, sys\nfrom tune_jobs.cluster.reaper import reaped_folder\nwith reaped_folder() as folder:\n    print(folder)"


@pytest.mark.parametrize("length", [reaper.LONGEST_PARENT_BYTES, reaper.LONGEST_PARENT_BYTES + 1, 90])
def test_the_folder_is_short_enough_for_sockets(length: int, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        place = Path(name, "x" * (length - len(name) - 1))
        place.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
        done = subprocess.run([sys.executable, "-c", _PLACE], env=environment, capture_output=True, text=True, timeout=60)
    folder = Path(done.stdout.strip())
    assert len(f"{folder}/session_2026-11-30_23-59-59_123456_4194304/sockets/plasma_store") <= 107
    assert (folder.parent == place) == (length == reaper.LONGEST_PARENT_BYTES)
    assert not folder.exists()


def test_without_a_short_path_an_error_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / ("x" * 60)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(reaper, "_SHORT_PARENTS", (tmp_path / "none",))
    with (
        pytest.raises(ResourceError, match=r"bytes and Ray's sockets need one of at most 26; set TMPDIR to a shorter one \(none of"),
        reaper.reaped_folder(),
    ):
        pytest.fail("made")
