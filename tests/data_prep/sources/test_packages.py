"""Pinned packages: fetched from an index on loopback, never unpacked, and safe to read whatever is in them."""

import errno
import gzip
import hashlib
import html
import io
import json
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from codenas.errors import ConfigError, ResourceError
from data_prep.document import Document
from data_prep.sources.archives import BadArchive, members
from data_prep.sources.package_index import Pin, default_cache, fetch, pip_setting, read_pins
from data_prep.sources.packages import Packages
from tests.data_prep.places import Answer, Place, serving

METADATA = "Metadata-Version: 2.4\nName: x\nVersion: 1\nLicense-Expression: MIT\nAuthor: Zoë\n"


def wheel(name: str, files: Mapping[str, bytes], metadata: str = METADATA) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**files, f"{name}-1.dist-info/METADATA": metadata.encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def sdist(name: str, files: Mapping[str, bytes], metadata: str = METADATA) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for path, data in {"PKG-INFO": metadata.encode(), **files}.items():
            info = tarfile.TarInfo(f"{name}-1/{path}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


HELD = {
    "one-1-py3-none-any.whl": wheel(
        "one", {"one/a.py": b"a = 1\r\n", "one/b.go": b"package b\n", "one/tests/c.py": b"c = 1\n", "one/d.so": b"\0"}
    ),
    "two-1.tar.gz": sdist("two", {"src/two/a.py": b"b = 1\n", "setup.py": b"raise SystemExit('run')\n", "_vendor/c.py": b"c = 1\n"}),
}


@pytest.fixture(params=["json", "html"])
def index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An index that holds two packages, in either of its forms."""

    def reply(_: str, path: str) -> Answer:
        name = path.rstrip("/").rpartition("/")[2]
        if path.startswith("/files/"):
            return Answer(HELD[name])
        found = {file: sha256(data) for file, data in HELD.items() if file.startswith(f"{name}-")}
        if not found:
            return Answer(b"", 404)
        if request.param == "json":
            return Answer(
                json.dumps(
                    {"files": [{"url": f"../../files/{one}", "hashes": {"sha256": digest}} for one, digest in found.items()]}
                ).encode()
            )
        links = "".join(f'<a href="{html.escape(f"../../files/{one}#sha256={digest}")}">{one}</a>' for one, digest in found.items())
        return Answer(f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

    with serving(reply) as place:
        monkeypatch.setenv("PIP_INDEX_URL", f"{place.url.replace('//', '//user:secret@')}/simple/")
        yield place


def listing(folder: Path, files: Mapping[str, bytes]) -> Path:
    lines = [f"{name.partition('-')[0]}==1 --hash=sha256:{sha256(data)}" for name, data in files.items()]
    (folder / "list.txt").write_text("\n".join(["# ours", "", *lines]) + "\n")
    return folder / "list.txt"


def test_a_list_is_fetched_once_and_read_without_unpacking(index: Place, tmp_path: Path) -> None:
    packages = Packages(listing(tmp_path, HELD), 100, tmp_path / "cache")
    found = packages.find()
    assert [(entry.repository, entry.path, entry.language) for entry in found] == [
        ("pypi/one", "one/a.py", "Python"), ("pypi/one", "one/b.go", "Go"), ("pypi/one", "one/tests/c.py", "Python"),
        ("pypi/two", "_vendor/c.py", "Python"), ("pypi/two", "setup.py", "Python"), ("pypi/two", "src/two/a.py", "Python"),
    ]  # fmt: skip
    assert [packages.objection(entry) for entry in found] == [None, None, "tests", "vendored copy", None, None]
    assert packages.read(found[0]) == Document("pypi/one", "one/a.py", ("MIT",), "Python", "a = 1\n")
    assert packages.read(found[5]) == Document("pypi/two", "src/two/a.py", ("MIT",), "Python", "b = 1\n")
    asked = len(index.asked)
    assert asked == 4 and Packages(listing(tmp_path, HELD), 100, tmp_path / "cache").find() == found
    assert len(index.asked) == asked
    assert sorted(path.name[65:] for path in (tmp_path / "cache").iterdir()) == sorted(HELD)


def test_what_was_changed_on_disk_is_fetched_anew(index: Place, tmp_path: Path) -> None:
    pins = read_pins(listing(tmp_path, HELD))
    held = fetch(pins, tmp_path / "cache")
    held[pins[0]].write_bytes(b"half")
    assert fetch(pins, tmp_path / "cache")[pins[0]].read_bytes() == HELD["one-1-py3-none-any.whl"]


def test_another_hash_than_the_pinned_one_is_refused_and_the_rest_is_kept(
    index: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = listing(tmp_path, HELD)
    monkeypatch.setitem(HELD, "two-1.tar.gz", b"something else")
    with pytest.raises(
        ResourceError, match=r"^the package two 1 cannot be fetched: the index has no file with the SHA-256 .*; 1 of 2 packages"
    ) as caught:
        Packages(path, 100, tmp_path / "cache").find()
    assert "127.0.0.1" not in str(caught.value) and "secret" not in str(caught.value)
    assert [file.name[65:] for file in (tmp_path / "cache").iterdir()] == ["one-1-py3-none-any.whl"]


def test_a_file_that_is_not_what_the_index_says_is_not_kept(index: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listing(tmp_path, {"two-1.tar.gz": HELD["two-1.tar.gz"]})
    (pin,) = read_pins(path)
    monkeypatch.setattr("data_prep.sources.package_index._listed", lambda _: [("/files/one-1-py3-none-any.whl", pin.sha256)])
    with pytest.raises(ResourceError, match=r"two 1 cannot be fetched: its SHA-256 is [0-9a-f]{12}\.\.\. and the list has"):
        fetch([pin], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_a_package_is_never_in_memory_as_a_whole(index: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HELD, "big-1.tar.gz", b"\0" * 40_000_000)
    pins = read_pins(listing(tmp_path, {"big-1.tar.gz": HELD["big-1.tar.gz"]}))
    tracemalloc.start()
    try:
        (path,) = fetch(pins, tmp_path / "cache").values()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == 40_000_000
    assert peak < 10_000_000


def test_a_connection_that_breaks_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def reply(_: str, path: str) -> Answer:
        asked.append(path)
        if not path.startswith("/files/"):
            page = {"files": [{"url": "/files/two-1.tar.gz", "hashes": {"sha256": sha256(HELD["two-1.tar.gz"])}}]}
            return Answer(json.dumps(page).encode())
        if len(asked) == 2:  # more is announced than comes
            return Answer(b"half", headers={"Content-Length": "99", "Connection": "close"})
        return Answer(HELD["two-1.tar.gz"])

    with serving(reply) as place:
        monkeypatch.setenv("PIP_INDEX_URL", place.url)
        (path,) = fetch(read_pins(listing(tmp_path, {"two-1.tar.gz": HELD["two-1.tar.gz"]})), tmp_path / "cache").values()
    assert path.read_bytes() == HELD["two-1.tar.gz"] and len(asked) == 3


def test_a_full_disk_leaves_nothing_half(index: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="no space is left"):
        Packages(listing(tmp_path, HELD), 100, tmp_path / "cache").find()
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize(("status", "reason"), [(404, "the index answers 404"), (503, "the index answers 503")])
def test_an_index_that_fails_is_told_with_the_package(status: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda *_: Answer(status=status)) as place:
        monkeypatch.setenv("PIP_INDEX_URL", place.url)
        with pytest.raises(ResourceError, match=f"the package one 1 cannot be fetched: {reason}; check the network and pip's index"):
            fetch([Pin("one", "1", "0" * 64)], tmp_path)
        assert len(place.asked) == (1 if status == 404 else 3)


def test_without_a_network_the_package_and_the_way_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda *_: Answer()) as place:
        url = place.url
    monkeypatch.setenv("PIP_INDEX_URL", url)  # nobody listens there any more
    with pytest.raises(
        ResourceError, match=r"one 1 cannot be fetched: no connection to the index \(ConnectError\); .*; 0 of 1 packages"
    ) as caught:
        fetch([Pin("one", "1", "0" * 64)], tmp_path)
    assert url not in str(caught.value)
    monkeypatch.setenv("PIP_INDEX_URL", "file:///srv/index")
    with pytest.raises(ConfigError, match="pip's index-url is no http address, .*; set PIP_INDEX_URL"):
        fetch([Pin("one", "1", "0" * 64)], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\n", r"line 1: 'one' is not a pinned package; write name==version --hash=sha256:HEX"),
        ("# x\none==1 --hash=sha256:12\n", "line 2: .* is not a pinned package"),
        (f"One_x==1 --hash=sha256:{'0' * 64}\none-x==2 --hash=sha256:{'1' * 64}\n", "line 2: one-x is listed twice"),
        ("# nothing\n", "is empty; each line is"),
    ],
)
def test_a_wrong_list_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_pins(tmp_path / "list.txt")
    with pytest.raises(ConfigError, match=r"absent.txt cannot be read: No such file"):
        read_pins(tmp_path / "absent.txt")


def test_the_list_of_the_job_is_in_order_and_pinned() -> None:
    path = Path(__file__).parents[3] / "tune_jobs/jobs/pypi-500mb.txt"
    pins = read_pins(path)
    assert 30 <= len(pins) <= 40 and [pin.name for pin in pins] == sorted(pin.name for pin in pins)


def test_pip_is_asked_as_pip_asks(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://files/simple\n")
    files = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert pip_setting("index-url", files) == "https://files/simple"
    assert pip_setting("index-url", files | {"PIP_INDEX_URL": "https://told/simple"}) == "https://told/simple"
    assert pip_setting("cert", files) is None
    (tmp_path / "pip.conf").write_text("nonsense")
    assert pip_setting("index-url", files) is None


def test_the_cache_is_where_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "codenas/packages"


def bomb(path: Path) -> None:
    path.write_bytes(wheel("x", {"a.py": b"#" * 30_000_000}))


def tar_bomb(path: Path) -> None:
    path.write_bytes(sdist("x", {"a.txt": b"#" * 30_000_000}))


def header_bomb(path: Path) -> None:
    info = tarfile.TarInfo("x-1/a.py")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32  # a header that says it is four gigabytes
    path.write_bytes(gzip.compress(info.tobuf() + b"\0" * 1024))


def truncated(path: Path) -> None:
    path.write_bytes(HELD["two-1.tar.gz"][:-40])


def no_zip(path: Path) -> None:
    path.write_bytes(b"PK\3\4 nonsense")


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (bomb, "x.whl", "archive bomb"),
        (tar_bomb, "x.tar.gz", "archive bomb"),
        (header_bomb, "x.tar.gz", "archive bomb"),
        (truncated, "x.tar.gz", "broken archive"),
        (no_zip, "x.whl", "broken archive"),
        (no_zip, "x.tar.gz", "broken archive"),
        (no_zip, "x.rar", "unknown archive format"),
    ],
)
def test_a_bad_archive_says_what_it_is(make: Callable[[Path], None], name: str, reason: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(BadArchive, match=f"^{reason}$"):
        for member in members(tmp_path / name):
            member.read()


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sources.archives.MEMBERS", 3)
    (tmp_path / "x.whl").write_bytes(wheel("x", {f"{number}.py": b"" for number in range(3)}))
    with pytest.raises(BadArchive, match="too many files"):
        list(members(tmp_path / "x.whl"))


def test_links_are_passed_over_and_paths_that_lead_out_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for path in ("x-1/PKG-INFO", "x-1/good.py", "x-1/../../out.py", "/etc/abs.py"):
            info = tarfile.TarInfo(path)
            data = METADATA.encode() if path.endswith("PKG-INFO") else b"x = 1\n"
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("x-1/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = listed({"x-1.tar.gz": sink.getvalue()}, tmp_path, monkeypatch)
    assert sorted(found.items()) == [("../../out.py", "unsafe path"), ("etc/abs.py", "unsafe path"), ("good.py", None)]


def test_names_in_an_archive_that_no_table_can_hold_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = listed({"x-1.tar.gz": sdist("x", {"good.py": b"x", "two\nlines.py": b"x", "\udcff.py": b"x"})}, tmp_path, monkeypatch)
    assert found == {"good.py": None, "two\nlines.py": "unprintable name", "\udcff.py": "unprintable name"}


def test_a_package_that_cannot_be_read_does_not_end_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(tmp_path / "bomb.whl")
    held = {"one-1.whl": HELD["one-1-py3-none-any.whl"], "two-1.whl": (tmp_path / "bomb.whl").read_bytes()}
    found = listed(held, tmp_path, monkeypatch)
    assert found == {"one/a.py": None, "one/b.go": None, "one/tests/c.py": "tests", "1": "archive bomb"}
    assert listed({"six-1.tar.gz": HELD["two-1.tar.gz"][:-40]}, tmp_path, monkeypatch) == {"1": "broken archive"}


def listed(files: Mapping[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What is said of each member of packages that are in the cache already."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    for name, data in files.items():
        (cache / f"{sha256(data)}-{name}").write_bytes(data)
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nobody")
    packages = Packages(listing(folder, files), 100, cache)
    return {entry.path: packages.objection(entry) for entry in packages.find()}
