"""Events in a bucket: appended without a rewrite, read in order, and never lost when two processes append at once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codenas.errors import RunError
from codenas.experiment import event_log
from codenas.experiment.event_log import EventLog
from codenas.experiment.objects import Objects
from tests.stores import give_keys, s3

EVENTS = [f'{{"number":{number}}}'.encode() for number in range(11)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "BLOCK", 3)


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    return tmp_path / "trials"


@pytest.fixture(params=["file", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], EventLog]]:
    """The log as another process finds it."""

    def read(url: str) -> EventLog:
        log = EventLog(Objects(url))
        log.read()
        return log

    if request.param == "file":
        yield lambda: read(tmp_path.as_uri())
        return
    give_keys(monkeypatch)
    with s3() as bucket:
        yield lambda: read(bucket.url)


@pytest.fixture
def here(tmp_path: Path) -> Callable[[], EventLog]:
    def read() -> EventLog:
        log = EventLog(Objects(tmp_path.as_uri()))
        log.read()
        return log

    return read


def block(events: list[bytes]) -> bytes:
    return b"".join(event + b"\n" for event in events)


@pytest.mark.parametrize("sizes", [[1] * 11, [2, 5, 1, 3], [11], [3, 3, 3, 2]])
def test_events_come_back_in_order_in_every_process(sizes: list[int], opened: Callable[[], EventLog]) -> None:
    left = list(EVENTS)
    for size in sizes:
        log = opened()
        assert list(log.events) == EVENTS[: len(EVENTS) - len(left)]
        log.append(left[:size])
        del left[:size]
    assert list(opened().events) == EVENTS


def test_no_object_is_written_twice_and_reading_takes_few(
    here: Callable[[], EventLog], trials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, read = list[str](), list[str]()
    write, get = Objects.write, Objects.read

    def watched_write(objects: Objects, name: str, content: bytes) -> None:
        written.append(name)
        write(objects, name, content)

    def watched_read(objects: Objects, name: str) -> bytes | None:
        read.append(name)
        return get(objects, name)

    monkeypatch.setattr(Objects, "write", watched_write)
    monkeypatch.setattr(Objects, "read", watched_read)
    log = here()
    for event in EVENTS:
        log.append([event])
    assert len(written) == len(set(written)) == 11 + 3 and read == []
    assert [path.read_bytes() for path in sorted(trials.glob("*.jsonl"))] == [block(EVENTS[start : start + 3]) for start in (0, 3, 6)]
    here()
    assert len(read) == 3 + 2


@pytest.mark.parametrize("held", range(1, 10))
def test_a_mirror_of_an_earlier_version_is_read_and_continued(held: int, here: Callable[[], EventLog], trials: Path) -> None:
    trials.mkdir()
    for start in range(0, held, 3):
        (trials / f"{start // 3:06d}.jsonl").write_bytes(block(EVENTS[start : min(start + 3, held)]))
    for size in range(held, len(EVENTS)):
        log = here()
        assert list(log.events) == EVENTS[:size]
        log.append([EVENTS[size]])
    assert list(here().events) == EVENTS


@pytest.mark.parametrize("common", [1, 2, 3, 7])
def test_of_two_that_append_at_once_the_later_gives_up_and_leaves_nothing(common: int, opened: Callable[[], EventLog]) -> None:
    first = opened()
    first.append(EVENTS[:common])
    second = opened()
    for event in EVENTS[common:]:  # the first one may be far ahead by then
        first.append([event])
    with pytest.raises(RunError, match="is written by another process too; let one of them continue, finished work is kept"):
        second.append([b'{"number":-1}'])
    assert list(opened().events) == EVENTS


def test_of_two_that_write_before_either_looks_both_give_up(here: Callable[[], EventLog], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, names = here(), here(), Objects.names

    def late(objects: Objects, folder: str) -> set[str]:
        monkeypatch.setattr(Objects, "names", names)
        with pytest.raises(RunError, match="another process"):
            second.append([b"{}"])
        second._objects.write("trials/000000/00000000-bbbbbbbb.jsonl", b"{}\n")  # as if it had not yet given up
        return names(objects, folder)

    monkeypatch.setattr(Objects, "names", late)
    with pytest.raises(RunError, match="another process"):
        first.append([EVENTS[0]])
    assert list(here().events) == [b"{}"]


@pytest.mark.parametrize("continued", [2, 3, 4])
def test_what_a_process_left_that_was_killed_before_it_looked_is_passed_over(
    continued: int, here: Callable[[], EventLog], trials: Path
) -> None:
    log = here()
    for event in EVENTS[:continued]:
        log.append([event])
    start = continued - 2
    (trials / f"{start // 3:06d}" / f"{start:08d}-00000000.jsonl").write_bytes(b"{}\n")
    assert list(here().events) == EVENTS[:continued]


def test_two_last_events_are_named(here: Callable[[], EventLog], trials: Path) -> None:
    here().append([EVENTS[0]])
    (trials / "000000/00000000-00000000.jsonl").write_bytes(b"{}\n")
    with pytest.raises(
        RunError,
        match=r"trials/000000 holds event 0 of two processes, in 00000000-0{8}.jsonl and .*; remove the one of the search to discard",
    ):
        here()


@pytest.mark.parametrize("lost", ["000000.jsonl", "000001.jsonl", "000003/00000009-*", "000003"])
def test_a_lost_part_is_reported(lost: str, here: Callable[[], EventLog], trials: Path) -> None:
    log = here()
    for event in [*EVENTS, b'{"number":11}', b'{"number":12}']:
        log.append([event])
    (trials / "000003.jsonl").unlink()  # as if the process was killed before it had stored the block
    for path in trials.glob(lost):
        path.rename(trials.parent / path.name)
    with pytest.raises(RunError, match="trials is damaged: a part is missing or incomplete; restore it"):
        here()


def test_a_block_that_a_killed_process_owed_is_stored_by_the_next(here: Callable[[], EventLog], trials: Path) -> None:
    log = here()
    log.append(EVENTS[:7])
    for path in trials.glob("*.jsonl"):
        path.unlink()
    log = here()
    assert list(log.events) == EVENTS[:7]
    log.append([EVENTS[7]])
    assert sorted(path.name for path in trials.glob("*.jsonl")) == ["000000.jsonl", "000001.jsonl"]
    assert list(here().events) == EVENTS[:8]
