"""Kills the processes of a local Ray cluster, also if the process that started it was killed.

Ray's own processes notice the death of their driver at their own pace; some of its agents live on for more than a minute.
This small process holds the end of a pipe of the driver. When the pipe closes, for whatever reason, it kills every process
that has an open file in the cluster's own folder, and removes the folder. (Marking processes by an environment
variable does not work: Ray's processes write their titles over it.)
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

from codenas.errors import ResourceError
from codenas.interrupts import interrupts_deferred

_ROOT = Path(__file__).parents[2]
_ROUNDS = 10  # a process that was being started while others were killed is found in a later round

# A socket's path has at most 107 bytes on Linux and 103 on macOS. In Ray's folder it continues
# /session_2026-11-30_23-59-59_123456_4194304/sockets/plasma_store, and the folder's own name has 16 characters and a slash.
_PATH_BYTES = 103 if sys.platform == "darwin" else 107
LONGEST_PARENT_BYTES = _PATH_BYTES - len("/session_2026-11-30_23-59-59_123456_4194304/sockets/plasma_store") - len("/codenas-12345678")
_SHORT_PARENTS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@contextmanager
def reaped_folder() -> Iterator[Path]:
    """A new folder for a cluster's files. At the end of the block, or of this process, every process that has one of them open is killed.

    Raises:
        ResourceError: no folder for temporary files has a path that is short enough for Ray's sockets.
    """
    with ExitStack() as stack:
        with interrupts_deferred():  # a folder without a reaper would stay
            folder = Path(tempfile.mkdtemp(prefix="codenas-", dir=_short_parent()))
            command = [sys.executable, "-m", "tune_jobs.cluster.reaper", str(folder), str(os.getpid())]
            # From our own root: in the user's folder a types.py of theirs would be imported for Python's.
            reaper = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
            stack.callback(_finish, reaper)
        yield folder


def reap(folder: Path, driver_pid: int) -> None:
    """Kill every process with an open file in `folder`, except the driver; then remove the folder."""
    for _ in range(_ROUNDS):
        holders = [process for process in psutil.process_iter() if process.pid != driver_pid and _holds(process, folder)]
        if not holders:
            break
        for process in holders:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(holders, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def _short_parent() -> Path:
    """The folder for temporary files, or another one where paths of Ray's sockets below it would be too long."""
    wanted = Path(tempfile.gettempdir())
    for folder in (wanted, *_SHORT_PARENTS):
        if len(os.fsencode(folder)) <= LONGEST_PARENT_BYTES and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise ResourceError(
        f"{wanted} has a path of {len(os.fsencode(wanted))} bytes and Ray's sockets need one of at most {LONGEST_PARENT_BYTES}; "
        f"set TMPDIR to a shorter one (none of {', '.join(map(str, _SHORT_PARENTS))} can be written to), or search with --no-ray"
    )


def _finish(reaper: "subprocess.Popen[bytes]") -> None:
    assert reaper.stdin is not None
    with interrupts_deferred():
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
