"""What a driver leaves behind is ended and removed, wherever it was started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
        _, said = driver.communicate(timeout=30)  # ends when nobody holds standard error any more: all of them are gone
    assert said == ""
    assert not folder.exists()
