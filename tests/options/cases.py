"""One command line after the other, in this process: what becomes of each, and whether that is allowed."""

import contextlib
import os
import resource
import shlex
import signal
import stat
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

import psutil
import torch
from typer.testing import CliRunner, Result

from codenas.cli.app import EXIT_INTERRUPTED, EXIT_USER_ERROR, app
from codenas.interrupts import defer_interrupts
from tests.options.declared import Command, Option
from tests.options.values import drawn, is_much, pairs_of

TIME_S = 60.0  # of a case: many times what the slowest takes
WORK_TIME_S = 2.0  # of one that may ask for more work than anybody waits for
MEMORY_BYTES = 8_000_000_000  # that a case may reserve more than this process has

# What makes a command quick, and goes to its end by itself. A command that is not here is given what its arguments need.
BASE: Mapping[str, Mapping[str, str]] = {
    "demo": {"run": "new", "job": "job.toml", "port": "PORT"},
    "prepare": {"source": "source", "output": "made", "vocab_size": "300", "valid_share": "0.1", "test_share": "0.1", "max_mb": "1"},
    "train": {"run": "other", "job": "job.toml"},
    "evaluate": {"run": "run", "job": "job.toml"},
    "serve": {"run": "run", "port": "PORT"},
    "complete": {"prompt": "def f(", "url": "URL"},
    "bench-decode": {"model": "arch.json", "prompt": "8", "tokens": "4", "streams": "2", "rounds": "1", "memory": "--no-memory"},
    "status": {"run": "run"},
    "report": {"run": "run"},
    "compare": {"runs": "run other"},
    "logs": {"job_id": "raysubmit_1"},
    "stop": {"job_id": "raysubmit_1"},
    "fetch": {"run": "/runs/mine"},
    "search": {"run": "new", "corpus": "corpus", "job": "job.toml", "ray": "--no-ray"},
    "search record": {"run": "new", "corpus": "corpus", "job": "job.toml"},
    "search replay": {"table": "table.parquet", "strategy": "random", "trained": "bits_per_byte", "trainings": "4", "seeds": "2"},
    "search study": {"output": "made.db", "run": "run"},
    "search tensorboard": {"output": "made", "run": "run"},
    "corpus show": {"corpus": "corpus"},
    "corpus report": {"corpus": "corpus"},
    "space show": {"space": "space.json"},
    "arch show": {"spec": "arch.json"},
    "tokens sample-stats": {"source": "source", "num_batches": "4", "min_size": "400", "max_size": "450", "texts": "32", "workers": "1"},
    "tokens frequencies": {"vocabulary": "corpus", "source": "source"},
    "tokens compare": {"vocabularies": "corpus", "source": "source"},
    "submit search": {"job": "job.toml", "run": "/runs/mine"},
    "device calibrate": {"space": "space.json", "count": "8", "sweeps": "2", "vocab_size": "64"},
    "device predict": {"spec": "arch.json"},
}


NEED_A_CLUSTER = ("jobs", "logs", "stop", "fetch", "submit search")  # and are refused where there is none


@dataclass(frozen=True, slots=True)
class Case:
    """A command line. `endless`: it may ask for more work than there is time for."""

    words: tuple[str, ...]
    endless: bool

    def __str__(self) -> str:
        return shlex.join(("codenas", *self.words)).encode("utf-8", "backslashreplace").decode()


class _TimeIsOver(BaseException):
    """No `except Exception` of a command keeps it."""


def draw_case(command: Command, number: int, seed: int, world: Sequence[str], places: Mapping[str, str]) -> Case:
    """The case of this number: it depends on nothing else than what is given. `places` are known late, such as a free port."""
    rng = Random(f"{seed}/{command.name}/{number}")
    values = dict(BASE.get(command.name, {}))
    pair = pairs_of(command, rng) if number else ()  # the first is the command as it is meant
    for option in pair:
        values[option.name] = drawn(command, option, world, rng)
    for name, place in places.items():
        values = {key: value.replace(name, place) for key, value in values.items()}
    options = [option for option in command.options if option.name in values]
    words = [word for option in options for word in _said(option, values[option.name], rng)]
    return Case((*command.path, *words), any(is_much(option, values[option.name]) for option in pair))


def outcome(case: Case, folder: Path) -> tuple[str, str]:
    """What became of `case`, run in `folder`: `result`, `refused` or `interrupted`; or `fault`, and then what is wrong with it."""
    torch.set_num_threads(1)  # whatever the case before has asked for
    with contextlib.chdir(folder), _bounded_memory(), _timed(case.endless):
        try:
            done = CliRunner().invoke(app, case.words, env={"COLUMNS": "120"})
        except _TimeIsOver as late:
            return "fault", f"still at work after {TIME_S:g} s: {_places(late)}"
        except BaseException as error:
            return "fault", f"{type(error).__name__}: {error} ({_places(error)})"
    wrong = _wrong(case, done) or _harm(folder)
    if wrong:
        return "fault", wrong
    return {0: "result", EXIT_USER_ERROR: "refused"}.get(done.exit_code, "interrupted"), ""


def _said(option: Option, value: str, rng: Random) -> list[str]:
    if option.is_argument:
        return value.split(" ") if value in ("run other",) else [value]
    if option.is_flag:
        return [value]
    word = rng.choice(option.words)
    return [f"{word}={value}"] if rng.random() < 0.3 else [word, value]


def _wrong(case: Case, done: Result) -> str:
    """What is wrong with an end; empty where it is a result, or one line and exit code 2."""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"{type(done.exception).__name__}: {done.exception} ({_places(done.exception)})"
    if done.exit_code == 0:
        return "" if "Traceback (most recent call last)" not in done.output else f"a traceback and exit code 0: {done.output[-2_000:]}"
    if done.exit_code == EXIT_INTERRUPTED and case.endless:
        return ""
    if done.exit_code != EXIT_USER_ERROR:
        return f"exit code {done.exit_code}: {done.output[-500:]}"
    complaints = [line for line in done.stderr.split("\n") if line.startswith("codenas: ")]
    if len(complaints) != 1 or not done.stderr.endswith(f"{complaints[0]}\n") or "Traceback" in done.stderr:
        return f"not one line: {done.stderr[-2_000:]!r}"
    message = complaints[0].removeprefix("codenas: ")
    if message.split(":")[0].split(";")[0].endswith(("Error", "Exception")):
        return f"nothing but the name of a class: {message}"
    return ""


def _harm(folder: Path) -> str:
    """What a command has done that it must not: put a file in the place of a device, left drafts behind."""
    device = folder / "null"
    if device.exists() and not stat.S_ISCHR(device.lstat().st_mode):
        return f"{device} was a device, and is one no longer"
    drafts = [path.name for path in folder.glob(".*.new")]
    return f"drafts are left behind: {drafts}" if drafts else ""


def _places(error: BaseException) -> str:
    """Where an error came up, the last places first."""
    root = os.fspath(Path(__file__).parents[2])
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(root) and "/tests/" not in frame.filename
    ]
    return " < ".join(f"{frame.filename.removeprefix(root)[1:]}:{frame.lineno}" for frame in reversed(frames[-4:])) or "nowhere in CodeNAS"


@contextlib.contextmanager
def _timed(endless: bool) -> Iterator[None]:
    """Interrupt what may take for ever, by Ctrl-C again and again as people do; break off what must not, or does not listen."""
    started = time.monotonic()

    def look(_number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - started > TIME_S:
            raise _TimeIsOver
        if endless:
            signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGALRM, look)
    defer_interrupts()  # as the program does
    signal.setitimer(signal.ITIMER_REAL, WORK_TIME_S, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """What asks for more memory than a small machine has is told so, and the machine goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
