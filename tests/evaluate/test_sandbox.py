"""The sandbox of generated code: right programs pass, wrong ones fail, and attacks change nothing outside and no outcome."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from codenas.errors import ResourceError
from codenas.evaluate.sandbox import Program, Sandbox, SandboxLimits, missing_features
from codenas.evaluate.sandbox.values import decode, encode

pytestmark = pytest.mark.skipif(bool(missing_features()), reason="this system cannot isolate generated code")

TESTS = "assert answer(20) == 43\nassert answer(-1) == 1"
RIGHT = "def answer(x): return 2 * x + 3"

# Modules that pretend to solve the tests, without doing what they ask. Each is run with the tests above.
FORGERIES = {
    "an object equal to everything": "class Any:\n  def __eq__(self, other): return True\ndef answer(x): return Any()",
    "a subclass of int equal to everything": "class Any(int):\n  def __eq__(self, other): return True\ndef answer(x): return Any(5)",
    "exit code 0": "import sys\ndef answer(x): sys.exit(0)",
    "exit code 0 at import": "import sys\nsys.exit(0)",
    "exit without clean-up": "import os\nos._exit(0)",
    "a forged verdict": 'import os\nfor fd in range(64):\n  try: os.write(fd, b\'["passed", ""]\\n\')\n  except OSError: pass\nos._exit(0)',
    "forged answers": "import os\nos.write(3, b'{\"loaded\": true}\\n' + b'{\"value\": true}\\n' * 9)\ndef answer(x): return 0",
    "another assert": "import builtins\nbuiltins.AssertionError = Exception\ndef answer(x): return None",
    "another comparison": "import operator\noperator.eq = lambda a, b: True\ndef answer(x): return 0",
    "tests found in memory": (
        "import gc\nfound = [o for o in gc.get_objects() if isinstance(o, dict) and 'assert answer' in str(o.get('tests', ''))]\n"
        "def answer(x): return 43 if found and x == 20 else 1 if found else 0"
    ),
    "tests found in frames": (
        "import sys\ndef answer(x):\n  frame = sys._getframe()\n  while frame:\n"
        "    if 'assert ' + 'answer' in repr(frame.f_locals): return 43 if x == 20 else 1\n    frame = frame.f_back\n"
    ),
    "an exception equal to nothing": "class E(BaseException): pass\ndef answer(x): raise E",
    "an iterator for a number": "def answer(x): return iter([43])",
    "a number too deep to read": "def answer(x):\n  y = []\n  for _ in range(100000): y = [y]\n  return y",
    "a value of two gigabytes": "def answer(x): return 'x' * (1 << 31)",
}

# Statements that must fail inside. `answer` gives the right result only if the attack raised nothing.
ATTACKS = {
    "read a file": "open({secret!r}).read()",
    "list a folder": "__import__('os').listdir({folder!r})",
    "write a file": "open({folder!r} + '/new', 'w')",
    "write in /tmp": "open('/tmp/sandbox-new', 'w')",
    "remove a file": "__import__('os').unlink({secret!r})",
    "change permissions": "__import__('os').chmod({secret!r}, 0o777)",
    "make a link": "__import__('os').symlink({secret!r}, '/tmp/sandbox-link')",
    "make a folder": "__import__('os').mkdir('/tmp/sandbox-new')",
    "read the environment of its parent": "open('/proc/%d/environ' % __import__('os').getppid()).read()",
    "read its own memory by /proc": "open('/proc/self/mem', 'rb')",
    "write its limits by /proc": "open('/proc/self/oom_score_adj', 'w')",
    "open a socket": "__import__('socket').socket()",
    "connect to loopback": "__import__('socket').create_connection(('127.0.0.1', {port}))",
    "open a Unix socket": "__import__('socket').socket(__import__('socket').AF_UNIX)",
    "open a pair of sockets": "__import__('socket').socketpair()",
    "fork": "__import__('os').fork()",
    "start a program": "__import__('subprocess').run(['/bin/true'])",
    "run a shell": "assert __import__('os').system('true') == 0",
    "replace itself": "__import__('os').execv('/bin/true', ['true'])",
    "start a thread": "__import__('_thread').start_new_thread(print, ())",
    "signal its parent": "__import__('os').kill(__import__('os').getppid(), 9)",
    "signal everybody": "__import__('os').kill(-1, 9)",
    "signal a group": "__import__('os').killpg(0, 15)",
    "raise its limits": "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
    "become root": "__import__('os').setuid(0)",
    "call fork by ctypes": "assert __import__('ctypes').CDLL(None).fork() >= 0",
    "call socket by ctypes": "assert __import__('ctypes').CDLL(None).socket(2, 1, 0) >= 0",
    "trace its parent by ctypes": "assert __import__('ctypes').CDLL(None).ptrace(16, __import__('os').getppid(), 0, 0) >= 0",
    "make a file in memory": "__import__('os').memfd_create('x')",
    "open a file by handle": "assert __import__('ctypes').CDLL(None).syscall(304, 0, b'', 0) >= 0",
    "enter a namespace": "assert __import__('ctypes').CDLL(None).unshare(0x10000000) == 0",
    "mount": "assert __import__('ctypes').CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "share memory": "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=64)",
    "reboot": "assert __import__('ctypes').CDLL(None).reboot(0) == 0",
}

# What is stopped by a limit.
EXCESSES = {
    "an endless loop": "def answer(x):\n  while True: pass",
    "an endless loop at import": "while True: pass",
    "sleep": "import time\ndef answer(x): time.sleep(60)",
    "a loop that catches everything": "def answer(x):\n  while True:\n    try: 1 / 0\n    except BaseException: pass",
    "ignored signals": (
        "import signal\nfor number in range(1, 32):\n  try: signal.signal(number, signal.SIG_IGN)\n  except OSError: pass\nwhile True: pass"
    ),
    "all memory": "def answer(x):\n  y = []\n  while True: y.append(bytearray(1 << 24))",
    "deep recursion": "import sys\nsys.setrecursionlimit(1 << 30)\ndef answer(x): return answer(x)",
    "a crash": "import ctypes\ndef answer(x): return ctypes.string_at(0)",
    "abort": "import os\ndef answer(x): os.abort()",
    "an exponential power": "def answer(x): return 9 ** 9 ** 9 ** 9",
    "a hostile destructor": "class D:\n  def __del__(self):\n    while True: pass\ndef answer(x):\n  D()\n  return 43",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxLimits(seconds=2)) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(sandbox: Sandbox) -> Iterator[None]:
    """After all tests of the module the sandbox has only its own two processes, and nobody's files changed."""
    children = _descendants()
    yield
    assert _descendants() == children
    assert not [path for path in map(Path, ("/tmp/sandbox-new", "/tmp/sandbox-link")) if path.exists() or path.is_symlink()]


def _descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def _run(sandbox: Sandbox, source: str, tests: str = TESTS) -> str:
    return sandbox.run(Program(source, tests, ("answer",))).status


def test_a_right_program_passes_and_a_wrong_one_fails(sandbox: Sandbox) -> None:
    assert _run(sandbox, RIGHT) == "passed"
    assert _run(sandbox, "def answer(x): return 2 * x") == "failed"
    assert _run(sandbox, "def answer(x): pass") == "failed"
    assert _run(sandbox, "def answer(x) return") == "failed"
    assert _run(sandbox, "") == "failed"


def test_the_detail_names_the_error(sandbox: Sandbox) -> None:
    outcome = sandbox.run(Program("def answer(x): return x / 0", TESTS, ("answer",)))
    assert "ZeroDivisionError" in outcome.detail and not outcome.passed
    outcome = sandbox.run(Program("raise ValueError('at import')", TESTS, ("answer",)))
    assert "ValueError: at import" in outcome.detail


@pytest.mark.parametrize("source", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_does_not_pass(sandbox: Sandbox, source: str) -> None:
    assert _run(sandbox, source) != "passed"
    assert _run(sandbox, RIGHT) == "passed"


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "key"
    path.write_text("secret")
    for folder in (path, *list(path.parents)[:3]):
        folder.chmod(0o777)
    return path


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused(sandbox: Sandbox, secret: Path, attack: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        statement = attack.format(secret=str(secret), folder=str(secret.parent), port=server.getsockname()[1])
        assert _run(sandbox, f"def answer(x):\n  {statement}\n  return 2 * x + 3") in ("failed", "died")
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert secret.read_text() == "secret" and list(secret.parent.iterdir()) == [secret]
    assert _run(sandbox, RIGHT) == "passed"


@pytest.mark.parametrize("source", EXCESSES.values(), ids=EXCESSES)
def test_an_excess_ends_at_its_limit(sandbox: Sandbox, source: str) -> None:
    started = time.monotonic()
    assert _run(sandbox, source) in ("failed", "timeout", "died")
    assert time.monotonic() - started < 20
    assert _run(sandbox, RIGHT) == "passed"


def test_a_fork_bomb_starts_nothing(sandbox: Sandbox) -> None:
    before = _descendants()
    source = "import os\nfor _ in range(100):\n  try: os.fork()\n  except OSError: pass\n" + RIGHT
    assert _run(sandbox, source) == "passed"
    assert _descendants() == before


def test_the_environment_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    with Sandbox() as opened:
        assert _run(opened, "import os\ndef answer(x): return dict(os.environ)", "assert 'API_KEY' not in answer(0)") == "passed"


def test_only_what_the_tests_name_comes_from_the_program(sandbox: Sandbox) -> None:
    source = "def abs(x): return 0\ndef answer(x): return 5"
    assert _run(sandbox, source, "assert abs(answer(0) - 43) < 1") == "failed"


def test_objects_of_the_program_can_be_made_changed_and_passed(sandbox: Sandbox) -> None:
    source = (
        "class Node:\n  def __init__(self, x): self.x, self.next = x, None\ndef total(n): return n.x + (total(n.next) if n.next else 0)"
    )
    tests = "root = Node(1)\nroot.next = Node(2)\nassert total(root) == 3 and root.next.x == 2"
    assert sandbox.run(Program(source, tests, ("Node", "total"))).passed


def test_the_preamble_serves_the_tests_and_is_no_solution(sandbox: Sandbox) -> None:
    preamble = "import math\ndef answer(x): return 2 * x + 3"
    assert sandbox.run(Program(RIGHT, "assert math.isclose(answer(20), 43)", ("answer",), preamble)).passed
    assert not sandbox.run(Program("def answer(x): pass", TESTS, ("answer",), preamble)).passed


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**5000),
        1.5,
        float("inf"),
        1 + 2j,
        "a\u2028\ud800"[:2],
        b"\0\xff",
        [1, (2, {3})],
        {(1, 2): [None]},
        frozenset("ab"),
        int,
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_cross_unchanged(value: object) -> None:
    assert decode(encode(value, repr), repr) == value
    assert type(decode(encode(value, repr), repr)) is type(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper"):
        encode(endless, repr)


@pytest.mark.parametrize("data", [1, {"int": []}, {"set": [{"list": []}]}, {"unknown": []}, {"type": "object"}, {"dict": [[1]]}, {}])
def test_data_that_is_no_value_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"not a value|unpack|invalid"):
        decode(data, repr)


def test_a_system_without_isolation_is_refused_unless_it_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codenas.evaluate.sandbox.landlock.version", lambda: 0)
    with pytest.raises(ResourceError, match="Landlock"), Sandbox():
        pass
    with Sandbox(isolated=False) as opened:
        assert _run(opened, RIGHT) == "passed"


def test_a_sandbox_whose_process_died_says_so() -> None:
    before = _descendants()
    with Sandbox() as opened:
        for pid in _descendants() - before:
            psutil.Process(pid).kill()
        with pytest.raises(ResourceError, match="ended"):
            _run(opened, RIGHT)
