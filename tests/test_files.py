"""Files are whole or absent: after an interruption, on a full disk, with two processes in one folder."""

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codenas.errors import ResourceError, RunError
from codenas.files import (
    append_line,
    atomic_folder,
    folder_lock,
    readable_disk_errors,
    recover_folder,
    require_free_space,
    require_writable_file,
    sha256_file,
    write_atomic,
)
from tests.fakes import null_device, small_disk

ROOT = Path(__file__).parents[1]


def write_folder(path: Path, content: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(content)


def read(path: Path) -> str:
    return (path / "deep" / "file" if path.is_dir() else path).read_text()


WRITERS: dict[str, Callable[[Path, str], None]] = {"write_atomic": write_atomic, "atomic_folder": write_folder, "append_line": append_line}
REPLACING = {name: write for name, write in WRITERS.items() if name != "append_line"}


@pytest.fixture(params=REPLACING)
def replace(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    return REPLACING[request.param]


def failing(error: BaseException, times: int, real: Callable[..., None]) -> Callable[..., None]:
    """`real`, but call number `times` raises `error`."""
    calls = 0

    def call(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == times:
            raise error
        real(*args)

    return call


def test_what_is_written_is_there_and_nothing_else(replace: Callable[[Path, str], None], tmp_path: Path) -> None:
    for content in ("first", "second, longer", "3"):
        replace(tmp_path / "new" / "target", content)
        assert read(tmp_path / "new" / "target") == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["target"]


def test_others_may_read_what_is_written(replace: Callable[[Path, str], None], tmp_path: Path) -> None:
    replace(tmp_path / "target", "x")
    assert (tmp_path / "target").stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_may_read(replace: Callable[[Path, str], None], umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        replace(tmp_path / "target", "x")
    finally:
        os.umask(before)
    for path in (tmp_path / "target", *(tmp_path / "target").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_library_that_writes_private_files_changes_nothing(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as folder:
        os.close(os.open(folder / "weights", os.O_CREAT | os.O_WRONLY, 0o600))
        (folder / "manifest").touch()
    assert (tmp_path / "target/weights").stat().st_mode == (tmp_path / "target/manifest").stat().st_mode


def test_a_link_is_followed(replace: Callable[[Path, str], None], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("far/target")
    for content in ("first", "second"):  # a link that leads nowhere yet, and one that leads somewhere
        replace(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink() and read(tmp_path / "far" / "target") == content
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["target"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    require_writable_file(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        reading = pool.submit((tmp_path / "pipe").read_text)
        write_atomic(tmp_path / "pipe", "through")
        assert reading.result() == "through"
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    device = null_device(tmp_path / "null")
    require_writable_file(device)
    write_atomic(device, "gone")
    assert device.is_char_device() and device.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [device]


@pytest.mark.parametrize("write", [write_folder, append_line])
def test_what_is_read_again_needs_a_regular_place(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    for place in (null_device(tmp_path / "null"), tmp_path / "pipe"):
        if place.name == "pipe":
            os.mkfifo(place)
        with pytest.raises((NotADirectoryError, ResourceError)):
            write(place, "lost")
    assert (tmp_path / "null").is_char_device() and (tmp_path / "pipe").is_fifo()


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket")
        for write in (require_writable_file, lambda path: write_atomic(path, "x")):
            with pytest.raises(ResourceError, match="socket is a socket; name a file or /dev/stdout"):
                write(tmp_path / "socket")


@pytest.mark.parametrize("way", ["pipe", "file"])
def test_standard_output_is_written_to(way: str, tmp_path: Path) -> None:
    stdout = tmp_path / "stdout"  # a link as /dev/stdout is, which must survive a failure
    stdout.symlink_to("/proc/self/fd/1")
    script = (
        "import sys\nfrom pathlib import Path\nfrom codenas.files import require_writable_file, write_atomic\nprint('before', flush=True)\n"
    )
    script += "require_writable_file(Path(sys.argv[1]))\nwrite_atomic(Path(sys.argv[1]), 'written\\n')\nprint('after')"
    with (tmp_path / "out").open("wb") as out:
        target = subprocess.PIPE if way == "pipe" else out
        done = subprocess.run([sys.executable, "-c", script, stdout], cwd=ROOT, stdout=target, stderr=subprocess.PIPE, timeout=60)
    assert done.stderr == b""
    assert (done.stdout or (tmp_path / "out").read_bytes()) == b"before\nwritten\nafter\n"
    assert stdout.is_symlink() and sorted(tmp_path.iterdir()) == [tmp_path / "out", stdout]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"\x00\r\n\xff")
    assert (tmp_path / "file").read_bytes() == b"\x00\r\n\xff"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EACCES, "no")], ids=["interrupt", "error"])
@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupted_replacement_leaves_the_old(
    replace: Callable[[Path, str], None], call: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    replace(target, "old")
    monkeypatch.setattr(os, "replace", failing(error, call, os.replace))
    with pytest.raises(type(error)) if call == 1 or target.is_dir() else contextlib.nullcontext():
        replace(target, "new")
    assert read(target) == ("new" if target.is_file() and call == 2 else "old")
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_whose_maker_fails_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half"), atomic_folder(tmp_path / "target") as folder:
        (folder / "file").write_text("half")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as folder:
        assert folder.parents[1] == tmp_path and not (tmp_path / "target").exists()
    assert (tmp_path / "target").is_dir()


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from codenas.files import atomic_folder

def killing(real, times):
    calls = 0
    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

stages = {"fsync": (os, "fsync", 1), "first": (os, "replace", 1), "second": (os, "replace", 2), "rmtree": (shutil, "rmtree", 2)}
owner, name, times = stages[sys.argv[2]]
setattr(owner, name, killing(getattr(owner, name), times))
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("new")
"""


def write_and_be_killed(target: Path, stage: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, target, stage], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(("stage", "content"), [("fsync", "old"), ("first", "old"), ("second", "old"), ("rmtree", "new")])
def test_after_a_kill_at_any_stage_there_is_the_old_or_the_new(stage: str, content: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_folder(target, "old")
    write_and_be_killed(target, stage)
    assert len(list(tmp_path.glob(".target.*"))) == 1
    assert target.exists() == (stage != "second")
    recover_folder(target)
    assert read(target) == content
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("stage", ["fsync", "first", "second"])
def test_the_next_write_clears_what_the_killed_left(stage: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_folder(target, "old")
    write_and_be_killed(target, stage)
    write_folder(target, "newer")
    assert read(target) == "newer"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_the_next_write_of_a_file_clears_what_the_killed_left(stage: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    script = "import os, signal, sys\nfrom pathlib import Path\nfrom codenas.files import write_atomic\n"
    script += "setattr(os, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))\nwrite_atomic(Path(sys.argv[1]), 'half' * 9)"
    done = subprocess.run([sys.executable, "-c", script, target, stage], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.iterdir())) == 1 and not target.exists()
    write_atomic(target, "whole")
    assert read(target) == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_concurrent_writers_of_a_file_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, written, promoted_to, replace = tmp_path / "target", threading.Event(), threading.Event(), os.replace

    def slow(*places: Path) -> None:
        written.set()
        promoted_to.wait()
        replace(*places)

    monkeypatch.setattr(os, "replace", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(write_atomic, target, "first")
        written.wait()
        monkeypatch.setattr(os, "replace", replace)
        second = pool.submit(write_atomic, target, "second, longer")
        assert not target.exists()
        promoted_to.set()
        first.result()
        second.result()
    assert read(target) == "second, longer"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_live_process_makes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with atomic_folder(target) as slow:
        (slow / "file").write_text("slow")
        recover_folder(target)
        write_folder(target, "quick")
        assert (slow / "file").read_text() == "slow"
    assert (target / "file").read_text() == "slow"
    assert list(tmp_path.iterdir()) == [target]


def test_the_rest_of_another_place_is_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "model.best", "old")
    write_and_be_killed(tmp_path / "model.best", "second")
    (tmp_path / ".model.own_file").write_text("not a folder")
    recover_folder(tmp_path / "model")
    assert not (tmp_path / "model").exists() and (tmp_path / ".model.own_file").exists()
    recover_folder(tmp_path / "model.best")
    assert read(tmp_path / "model.best") == "old"


def test_lines_are_appended(tmp_path: Path) -> None:
    for line in ("one", "zwei, ü", ""):
        append_line(tmp_path / "new" / "log", line)
    assert (tmp_path / "new" / "log").read_text() == "one\nzwei, ü\n\n"


def test_a_torn_last_line_is_closed_off_first(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntw\xc3")
    append_line(tmp_path / "log", "three")
    assert (tmp_path / "log").read_bytes() == b"one\ntw\xc3\nthree\n"


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("number", "reason", "way_out"),
    [
        (errno.ENOSPC, "no space is left", "free some space and run the same command again, finished work is kept"),
        (errno.EDQUOT, "the quota is used up", "free some space and run the same command again, finished work is kept"),
        (
            errno.EFBIG,
            "a file would be larger than it may be",
            r"raise the limit \(ulimit -f\) or choose another place, and run the same command again, finished work is kept",
        ),
        (errno.EROFS, "it is read-only", "choose another place, or make this one writable"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_clear_line(
    name: str, number: int, reason: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    WRITERS[name](target, "old")
    monkeypatch.setattr(os, "fsync", failing(OSError(number, "broken"), 1, os.fsync))
    with pytest.raises(ResourceError, match=rf"^cannot write {target}: {reason} \(\d+ MB free\); {way_out}$") as caught:
        WRITERS[name](target, "new")
    assert "\n" not in str(caught.value)
    if name in REPLACING:
        assert read(target) == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_really_full(name: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        WRITERS[name](disk / "target", "old")
        with pytest.raises(ResourceError, match="no space is left"):
            WRITERS[name](disk / "target", "x" * 100_000)
        if name in REPLACING:
            assert read(disk / "target") == "old" and list(disk.iterdir()) == [disk / "target"]
            return
        (disk / "target").write_bytes((disk / "target").read_bytes()[:1_000])  # some space is free again
        append_line(disk / "target", "later")
        assert (disk / "target").read_text().splitlines()[0] == "old"
        assert (disk / "target").read_text().splitlines()[-1] == "later"


def test_a_lock_on_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        (disk / ".lock").touch()
        with contextlib.suppress(OSError):
            (disk / "fill").write_bytes(b"x" * 100_000)
        with pytest.raises(ResourceError, match=f"cannot write {disk}: no space is left"), folder_lock(disk):
            raise AssertionError("locked")


@pytest.mark.parametrize("write", [lambda path: write_atomic(path, "x"), require_writable_file])
def test_a_file_cannot_take_the_place_of_a_folder(write: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        write(tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == [] and list(tmp_path.parent.glob(f".{tmp_path.name}.*")) == []


def test_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    for name in ("old", "new", "deep/new"):
        require_writable_file(tmp_path / name)
    assert (tmp_path / "old").read_text() == "old"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "old"]
    with pytest.raises(FileExistsError):
        require_writable_file(tmp_path / "old" / "below")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), readable_disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "not yours")


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        folder_lock(folder),
        pytest.raises(RunError, match=rf"{folder} is in use by process {os.getpid()}; wait for it, end it, or choose another --run"),
        folder_lock(folder),
    ):
        raise AssertionError("two holders")
    with folder_lock(folder):
        assert folder.is_dir()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with other_process_holding(tmp_path) as holder:
        with pytest.raises(RunError, match=f"in use by process {holder.pid}"), folder_lock(tmp_path):
            raise AssertionError("two holders")
        holder.kill()
        holder.wait()
        with folder_lock(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())


@contextlib.contextmanager
def other_process_holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from pathlib import Path; from codenas.files import folder_lock\n"
    code += "with folder_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_free_space_is_asked_for_before_the_work(tmp_path: Path) -> None:
    require_free_space(tmp_path / "not" / "yet", 0)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(
        ResourceError, match=rf"{tmp_path} has \d+ MB free and this work needs {free} MB; free some space or choose another"
    ):
        require_free_space(tmp_path, free)


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"x" * 1_000_000).hexdigest()
