"""The owner of the two processes of a sandbox: it starts them, hands them programs and tests, and reads the outcome."""

import array
import contextlib
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from codenas.errors import ResourceError
from codenas.evaluate.sandbox import landlock, seccomp
from codenas.evaluate.sandbox.values import dump

_START_SECONDS = 30.0  # for the answer to a request beyond the request's own limit: a busy machine forks slowly
_ROOT = str(Path(__file__).resolve().parents[3])  # where the package `codenas` lies
_CODE = "import sys; sys.path.append(sys.argv[1]); from codenas.evaluate.sandbox.worker import main; main()"


Status = Literal["passed", "failed", "timeout", "died"]


@dataclass(slots=True, frozen=True)
class SandboxLimits:
    """What one program may use.

    Attributes:
        seconds: wall clock, of program and tests together.
        memory_bytes: address space of each of the two processes.
    """

    seconds: float = 3.0
    memory_bytes: int = 512_000_000


@dataclass(slots=True, frozen=True)
class Program:
    """Generated code with its tests.

    Attributes:
        source: the generated code, a whole module.
        tests: trusted code that raises where the program is wrong.
        names: what of the program the tests may use.
        preamble: trusted code that runs before the tests: imports, and helpers that the problem itself defines.
    """

    source: str
    tests: str
    names: tuple[str, ...]
    preamble: str = ""


@dataclass(slots=True, frozen=True)
class Outcome:
    """How the tests of a program ended; `detail` has the error, the signal or the limit."""

    status: Status
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.status == "passed"


def missing_features() -> tuple[str, ...]:
    """What this system lacks to isolate a program; empty where a sandbox works."""
    missing = []
    if not landlock.version():
        missing.append("Landlock (Linux 5.13 or later, enabled)")
    if not seccomp.supported():
        missing.append("seccomp filters on x86-64 or ARM64")
    return tuple(missing)


class Sandbox:
    """Runs programs one after the other, each in two new processes. A context manager.

    Args:
        limits: what one program may use.
        isolated: False runs generated code with the rights of this user, with time and process limits by the owner alone.

    Raises:
        ResourceError: on entering, where this system cannot isolate a program.
    """

    def __init__(self, limits: SandboxLimits = SandboxLimits(), isolated: bool = True) -> None:
        self._limits, self._isolated = limits, isolated
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._isolated and (missing := missing_features()):
            raise ResourceError(f"generated code cannot be isolated here: {' and '.join(missing)} missing; run it on another system")
        with self._stack:
            self._program, self._tests = (self._stack.enter_context(_Worker()) for _ in range(2))
            if self._isolated:
                self._verify()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def run(self, program: Program) -> Outcome:
        """Run the tests of `program`.

        Raises:
            ResourceError: a process of the sandbox itself ended.
        """
        limits = {"seconds": self._limits.seconds, "memory_bytes": self._limits.memory_bytes, "isolated": self._isolated}
        tests = {"role": "tests", "source": program.tests, "names": program.names, "preamble": program.preamble}
        one, other = socket.socketpair()
        with one, other:
            self._program.send({**limits, "role": "program", "source": program.source}, one)
            self._tests.send({**limits, **tests}, other)
        verdict = self._tests.receive(self._limits.seconds)
        ended = self._program.receive(self._limits.seconds)
        if verdict[0] == "failed" and ended[0] in ("timeout", "died"):
            verdict = ended  # the reason why the tests got no answer
        return Outcome(*verdict)

    def _verify(self) -> None:
        """See that a harmless program works, and that one which leaves its bounds does not."""
        harmless = self.run(Program("import fractions\ndef f(x): return x + 1", "assert f(1) == 2", ("f",)))
        if not harmless.passed:
            raise ResourceError(f"the sandbox cannot run Python: {harmless.detail}; use an interpreter that every user may read")
        for forbidden in (f"open({__file__!r})", "import socket; socket.socket()", "import os; os.fork()"):
            if self.run(Program(f"def f():\n    {forbidden}", "f()", ("f",))).passed:
                raise ResourceError(f"the sandbox does not hold here: it allows {forbidden}")


class _Worker:
    """One process of `codenas.evaluate.sandbox.worker`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        arguments = [sys.executable, "-I", "-S", "-c", _CODE, _ROOT, str(theirs.fileno())]
        with theirs:
            # An environment of its own: keys and tokens of this process are none of the program's business.
            self._process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env={})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def send(self, request: dict[str, Any], connection: socket.socket) -> None:
        """Send a request with a descriptor of the connection to the other child."""
        line = memoryview(dump(request))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))]
        try:
            sent = self._control.sendmsg([line], rights)
            self._control.sendall(line[sent:])
        except OSError as error:
            raise ResourceError(self._ended()) from error

    def receive(self, seconds: float) -> tuple[Status, str]:
        """The answer to a request whose own limit is `seconds`."""
        self._control.settimeout(seconds + _START_SECONDS)
        received = b""
        while not received.endswith(b"\n"):
            try:
                part = self._control.recv(65536)
            except OSError:  # no answer in time, or the process has gone with unread requests
                part = b""
            if not part:
                raise ResourceError(self._ended())
            received += part
        status, detail = json.loads(received)
        return status, detail

    def _ended(self) -> str:
        code = self._process.poll()
        state = "does not answer" if code is None else f"ended with {code}"
        return f"a process of the sandbox {state}; close what needs memory or processors, then run it again"
