"""The program of a sandbox process: it forks one restricted child for every request, and reports how it ended.

Standard library only: starting it takes as long as starting Python, and a fork of it a millisecond. One such process runs generated
code, another one the tests; the first never holds a test, so that there is none to find in the memory of its children.

Requests are lines of JSON on a Unix socket, each with the descriptor of the connection between the two children; answers are lines too.
"""

import array

# Imported before the fork, because nearly every sample does.
import collections  # noqa: F401
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codenas.evaluate.sandbox.landlock import restrict_files
from codenas.evaluate.sandbox.seccomp import restrict_system_calls
from codenas.evaluate.sandbox.values import MAX_BYTES, decode, dump, encode

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_CAPABILITY_VERSION, _CAP_DAC_READ_SEARCH = 0x20080522, 2
_NOBODY = 65534
_DETAIL = 500  # characters of an error that are reported
_READABLE = tuple(map(Path, (sysconfig.get_path("stdlib"), "/lib", "/lib64", "/usr/lib", "/usr/lib64")))


def serve(control: socket.socket) -> None:
    """Answer requests until the other end is closed."""
    while True:
        data, ancillary, *_ = control.recvmsg(65536, socket.CMSG_SPACE(4))
        if not data:
            return
        while not data.endswith(b"\n"):
            data += control.recv(65536)
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content)
        request = json.loads(data)
        control.sendall(dump(_run(request, descriptors[0], control)))


def _run(request: dict[str, Any], connection: int, control: socket.socket) -> tuple[str, str]:
    """Fork a child for `request`, wait for it until its deadline, and kill it then."""
    result, result_end = os.pipe()
    child = os.fork()
    if child == 0:
        control.close()
        os.close(result)
        _child(request, connection, result_end)
    os.close(result_end)
    os.close(connection)
    verdict = _read_until(result, time.monotonic() + request["seconds"])
    _kill(child)
    os.close(result)
    _, status, usage = os.wait4(child, 0)
    if verdict is None:
        return "timeout", f"no answer within {request['seconds']:g} s"
    if not verdict:
        return "died", f"the process ended with {os.waitstatus_to_exitcode(status)}, {usage.ru_maxrss} kB at most"
    return verdict


def _kill(child: int) -> None:
    """End a child, and where it is not isolated, what it started and did not move elsewhere."""
    for kill in (os.killpg, os.kill):  # it may not have come as far as to lead a group
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


def _read_until(descriptor: int, deadline: float) -> tuple[str, str] | tuple[()] | None:
    """The message on `descriptor`; empty where its other end was closed without one, None at the deadline."""
    received = b""
    while not received.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(descriptor, 65536)
        if not part:
            return ()
        received += part
    status, detail = json.loads(received)
    return str(status), str(detail)


def _child(request: dict[str, Any], connection: int, result: int) -> None:
    """Restrict this process, run the request, report, and end. Never returns."""
    outcome = ("failed", "")
    try:
        os.setsid()
        kept = _move_descriptors(connection, result)
        if request["isolated"]:
            restrict(request["memory_bytes"], request["seconds"])
        channel = Channel(kept[0])
        run = _answer_calls if request["role"] == "program" else _run_tests
        run(request, channel)
        outcome = ("passed", "")
    except BaseException as error:  # SystemExit as well: code that leaves has not passed
        outcome = ("failed", describe(error))
    finally:
        with contextlib.suppress(BaseException):
            os.write(4, dump(outcome))
        os._exit(0)


def _move_descriptors(connection: int, result: int) -> tuple[int, int]:
    """Standard streams to nowhere, the two descriptors to 3 and 4, all others closed."""
    null = os.open(os.devnull, os.O_RDWR)
    spare = [os.dup(descriptor) for descriptor in (null, null, null, connection, result, null)]
    spare = [descriptor if descriptor > 5 else os.dup(descriptor) for descriptor in spare]
    for target, source in enumerate(spare[:5]):
        os.dup2(source, target)
    os.closerange(5, 1024)
    sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
    return 3, 4


def restrict(memory_bytes: int, seconds: float) -> None:
    """Give up everything but computing: resources, privileges, files, network, processes.

    Raises:
        OSError: the system refuses one of the restrictions.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    cpu = int(seconds) + 1
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CPU: cpu, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for kind, limit in {**limits, resource.RLIMIT_NOFILE: 32, resource.RLIMIT_NPROC: 0}.items():
        resource.setrlimit(kind, (limit, limit))
    if os.geteuid() == 0:
        _become_nobody(libc)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    libc.prctl(_PR_SET_DUMPABLE, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")
    restrict_files(_READABLE)
    restrict_system_calls()


def _become_nobody(libc: ctypes.CDLL) -> None:
    """Change to a user that owns nothing, and keep of root's rights the reading of files: Python itself may lie in root's home.

    Raises:
        OSError: the system refuses it.
    """
    libc.prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    kept = struct.pack("=6I", 1 << _CAP_DAC_READ_SEARCH, 1 << _CAP_DAC_READ_SEARCH, 0, 0, 0, 0)  # effective, permitted, inheritable
    if libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), kept):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be dropped")


class Channel:
    """Messages, a line of JSON each, over a socket's descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received = b""

    def send(self, message: Any) -> None:
        """Send one message; `ValueError` where it is too long."""
        line = memoryview(dump(message))
        while line:
            line = line[os.write(self._descriptor, line) :]

    def receive(self) -> Any:
        """The next message; `EOFError` where the other end is closed, `ValueError` where it is too long or no JSON."""
        while b"\n" not in self._received:
            part = os.read(self._descriptor, 1 << 20)
            if not part:
                raise EOFError("the program has ended")
            self._received += part
            if len(self._received) > MAX_BYTES:
                raise ValueError(f"a message is longer than {MAX_BYTES} bytes")
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)


def _answer_calls(request: dict[str, Any], channel: Channel) -> None:
    """Execute the generated code, then do what the tests ask for: call its names, read and set attributes of its objects."""
    names: dict[str, Any] = {"__name__": "solution", "__builtins__": __builtins__}
    held: list[Any] = []

    def reference(value: Any) -> int:
        held.append(value)
        return len(held) - 1

    try:
        exec(compile(request["source"], "<solution>", "exec"), names)
        channel.send({"loaded": True})
    except BaseException as error:
        channel.send({"error": type(error).__name__, "detail": describe(error)})
        return
    actions: dict[str, Callable[..., Any]] = {
        "call": lambda function, args, named: function(*args, **named),
        "get": getattr,
        "set": setattr,
    }
    while True:
        try:
            message = channel.receive()
        except EOFError:
            return
        try:
            target = names[message["name"]] if message["name"] else held[message["object"]]
            arguments = decode(message["arguments"], held.__getitem__)
            channel.send({"value": encode(actions[message["action"]](target, *arguments), reference)})
        except BaseException as error:
            channel.send({"error": type(error).__name__, "detail": describe(error)})


class Remote:
    """A name or an object of the generated code, in the process of the tests."""

    __slots__ = ("_channel", "_place")

    def __init__(self, channel: Channel, name: str = "", number: int = 0) -> None:
        object.__setattr__(self, "_channel", channel)
        object.__setattr__(self, "_place", {"name": name, "object": number})

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._ask("call", args, named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def _ask(self, action: str, *arguments: Any) -> Any:
        def number(value: Any) -> int:
            if not isinstance(value, Remote):
                raise TypeError(f"a {type(value).__name__} cannot be passed to the program")
            found: int = value._place["object"]
            return found

        self._channel.send({**self._place, "action": action, "arguments": encode(arguments, number)})
        return _value(self._channel, self._channel.receive())


def _value(channel: Channel, answer: Any) -> Any:
    """What the program answered; raises what it raised, as an exception of the same built-in type."""
    if isinstance(answer, dict) and "value" in answer:
        return decode(answer["value"], lambda number: Remote(channel, number=int(number)))
    if not isinstance(answer, dict) or "error" not in answer:
        raise ValueError("the program's answer is none")
    raised = getattr(__import__("builtins"), str(answer["error"]), RuntimeError)
    if not (isinstance(raised, type) and issubclass(raised, Exception)):
        raised = RuntimeError
    raise raised(f"in the program: {str(answer.get('detail', ''))[:_DETAIL]}")


def _run_tests(request: dict[str, Any], channel: Channel) -> None:
    """Execute the tests. Only the names that are asked for come from the program: it must not replace `abs` or `math`."""
    loaded = channel.receive()
    if not isinstance(loaded, dict) or "error" in loaded:
        raise RuntimeError(f"the program failed: {str(loaded.get('detail', '') if isinstance(loaded, dict) else '')[:_DETAIL]}")
    names: dict[str, Any] = {"__name__": "tests"}
    exec(compile(request["preamble"], "<preamble>", "exec"), names)
    names.update({name: Remote(channel, name) for name in request["names"]})
    exec(compile(request["source"], "<tests>", "exec"), names)


def describe(error: BaseException) -> str:
    """Type and message of `error`, shortened; objects that misbehave when they are printed are only named."""
    try:
        return f"{type(error).__name__}: {error}"[:_DETAIL]
    except BaseException:
        return type(error).__name__


def main() -> None:
    """Serve the socket whose descriptor is the last argument; the one before is where this package was found."""
    sys.path.remove(sys.argv[-2])  # that of this package: all of it that is needed has been imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner closes the socket
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with socket.socket(fileno=int(sys.argv[-1])) as control:
        serve(control)
