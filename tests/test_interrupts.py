"""Ctrl-C and SIGTERM at any moment: one line, exit code 130, nothing left; who is impatient breaks nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from codenas.interrupts import defer_interrupts, interruptible, interrupts_deferred
from tests.data_prep.example_documents import documents, write_source

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60
LINE = "codenas: interrupted; finished work is kept, run the same command again to continue\n"
BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_it_interrupts_once_and_cleaning_up_is_not_disturbed(number: signal.Signals) -> None:
    cleaned = False
    defer_interrupts()
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            try:
                raise ValueError("another fault while cleaning up")
            except ValueError:
                signal.raise_signal(number)
            cleaned = True
    assert cleaned
    signal.raise_signal(number)  # after the command: ignored


def test_an_interrupt_that_was_swallowed_can_be_repeated() -> None:
    defer_interrupts()
    with interruptible():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_what_comes_before_a_command_interrupts_that_command_only() -> None:
    defer_interrupts()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        pass
    defer_interrupts()
    with interruptible():
        pass


def test_what_comes_before_the_command_interrupts_it_at_once() -> None:
    script = "import signal; from codenas.interrupts import defer_interrupts; defer_interrupts(); signal.raise_signal(signal.SIGINT)\n"
    script += "import sys; sys.argv[1:] = ['train']; from codenas.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (130, LINE)


def test_a_command_of_a_group_that_is_a_command_itself_is_interrupted() -> None:
    script = "import signal; from codenas.interrupts import defer_interrupts; defer_interrupts()\n"
    script += "from codenas.cli import job_file; job_file.load_job = lambda *_, **__: signal.raise_signal(signal.SIGTERM)\n"
    script += "import sys; sys.argv[1:] = ['search', 'record']; from codenas.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (130, LINE)


def test_a_command_called_by_another_program_leaves_its_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", BOTH)
def test_what_is_held_is_delivered_at_the_end_and_handlers_set_meanwhile_are_undone(number: signal.Signals) -> None:
    done = False
    defer_interrupts()
    with pytest.raises(KeyboardInterrupt), interruptible():
        with interrupts_deferred(), interrupts_deferred():
            signal.raise_signal(number)
            signal.raise_signal(number)
            signal.signal(signal.SIGTERM, lambda *_: os.abort())
            done = True
        pytest.fail("the interrupt was lost")
    assert done


@pytest.mark.cluster
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGTERM, "folder"), (signal.SIGINT, "raylet"), (signal.SIGTERM, "raylet")])
def test_the_start_of_ray_is_interrupted_in_one_line(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """Three signals, to the whole group as a terminal sends them."""
    source, scratch = write_source(tmp_path / "stack", documents(repositories=30, files=4)), Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    command = [sys.executable, "-m", "codenas", "prepare", "--source", str(source), "--output", str(tmp_path / "corpus")]
    process = psutil.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "TMPDIR": str(scratch)}
    )
    started: dict[int, psutil.Process] = {}

    def happened() -> bool:
        started.update({each.pid: each for each in process.children(recursive=True)})
        return any(scratch.iterdir()) if moment == "folder" else any(each.name() == moment for each in started.values())

    _until(happened, process)
    for _ in range(3):
        _send(process, number)
    output = process.communicate(timeout=PATIENCE_S)[1]
    assert (process.returncode, output) == (130, LINE)
    _, left = psutil.wait_procs(list(started.values()), timeout=PATIENCE_S)
    assert left == []
    scratch.rmdir()  # empty


_AT_THE_END_OF_RAY = """
import os, signal
from codenas.interrupts import defer_interrupts
defer_interrupts()
from codenas.cli.app import _with_one_line_errors
from tune_jobs.cluster.local import local_ray

def command():
    with local_ray(cpus=1):
        from ray._private import worker
        end = worker._global_node.kill_all_processes
        def interrupted(**options):
            os.kill(os.getpid(), signal.SIGTERM)
            end(**options)
        worker._global_node.kill_all_processes = interrupted

_with_one_line_errors(command)()
"""


@pytest.mark.cluster
def test_the_last_moment_of_ray_is_interrupted_in_one_line() -> None:
    """Ray's driver is gone by then, and must not have taken the handlers with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # as a user has it
    command = [sys.executable, "-c", _AT_THE_END_OF_RAY]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert (done.returncode, done.stderr) == (130, LINE)


def _send(process: psutil.Popen, number: signal.Signals) -> None:
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)


def _until(happened: Callable[[], bool], process: psutil.Popen) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)  # folders and processes of others give no event to wait on
