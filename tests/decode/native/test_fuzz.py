"""Random and hostile calls of a library with the address and undefined-behaviour sanitizers in it: error codes, never a bad access."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codenas.decode.native.library import available_targets
from tests.decode.native.models import needs_library

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build" / "native-sanitized"  # kept: what has not changed is not compiled again
DESIGNS = 25
NEEDED = ("cmake", "ninja", "g++")

pytestmark = [
    needs_library,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(any(shutil.which(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"),
]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def targets() -> list[str]:
    """The fastest target and the portable one, built with the sanitizers."""
    names = sorted({available_targets()[0], "portable"})
    run("cmake", "-S", "codenas/decode/native", "-B", BUILD, "-G", "Ninja", "-DCODENAS_SANITIZE=ON")
    run("cmake", "--build", BUILD, "--target", *(f"codenas-{name}" for name in names))
    return names


def test_hostile_calls_are_refused_and_touch_no_foreign_memory(targets: list[str]) -> None:
    # The standard library too: the sanitizer looks for its functions when it starts, before Python loads anything that needs it.
    preloaded = " ".join(run("g++", f"-print-file-name={name}") for name in ("libasan.so", "libstdc++.so"))
    for seed, target in enumerate(targets):
        fuzz = (sys.executable, "-m", "tests.decode.native.fuzz", BUILD, target, str(1000 * seed), str(DESIGNS))
        # Python itself leaks; a request for more memory than there is returns null, as it would without the sanitizer.
        report = run(*fuzz, LD_PRELOAD=preloaded, ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1")
        calls, refused = (int(word) for word in report.split() if word.isdigit())
        assert calls > refused > calls // 4  # both kinds were drawn
