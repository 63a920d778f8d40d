"""Ends what a cluster of ours left behind, also when the process that started it was killed.

Ray's own processes notice the death of their driver at their own pace; some of its agents live on for more than a minute.
This small process holds the end of a pipe of the driver. When the pipe closes, for whatever reason, it kills every process
that has a file open in the cluster's own folder, nothing else, and removes the folder. (A mark in the environment would not
do: Ray's processes write their titles over it.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from codenas.interrupts import held

_ROOT = Path(__file__).parents[2]
_ROUNDS = 10  # a process that was being started while others were killed is seen in a later round


@contextmanager
def reaped_folder() -> Iterator[Path]:
    """A fresh folder for a cluster's files. On leaving, and on any death of this process, whoever has one open is ended.

    The name is short: paths of sockets below it must stay under 107 bytes.
    """
    with ExitStack() as stack:
        with held():  # a folder without a reaper would stay
            folder = Path(tempfile.mkdtemp(prefix="codenas-"))
            command = [sys.executable, "-m", "tune_jobs.cluster.reaper", str(folder), str(os.getpid())]
            # From our own root: in the user's folder a types.py of theirs would be imported for Python's.
            reaper = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
            stack.callback(_finish, reaper)
        yield folder


def reap(folder: Path, spared: int) -> None:
    """Kill every process with a file open below `folder` but process `spared`, the driver; then remove the folder."""
    for _ in range(_ROUNDS):
        holders = [process for process in psutil.process_iter() if process.pid != spared and _holds(process, folder)]
        if not holders:
            break
        for process in holders:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(holders, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def _finish(reaper: "subprocess.Popen[bytes]") -> None:
    assert reaper.stdin is not None
    with held():
        reaper.stdin.close()
        reaper.wait()


def _holds(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    reap(Path(sys.argv[1]), int(sys.argv[2]))
