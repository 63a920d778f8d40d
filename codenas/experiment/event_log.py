"""An append-only list of events in a bucket, which cannot append: every append is an object of its own that is never changed.

    trials/000002/00000237-9f2c11aa.jsonl    a segment: events from 237 on, appended by the process 9f2c11aa
    trials/000002.jsonl                      a block: events 200 to 299, stored once complete, so that few objects are read

An append takes one write and one listing of at most `BLOCK` names, however long the history. Two processes that append at the
same time write different objects: at least the later one finds the other's in the listing, removes its own and raises.
Mirrors of earlier versions have blocks only, the last of them incomplete; they are read, and segments continue them.
"""

import re
import secrets
from collections.abc import Sequence

from codenas.errors import RunError
from codenas.experiment.objects import Objects
from codenas.files import is_complete_json

BLOCK = 100  # events
_FOLDER = "trials"
_SEGMENT = re.compile(r"(\d{8})-([0-9a-f]{8})\.jsonl", re.ASCII)


class EventLog:
    """The events below `objects`. All methods may raise as those of `Objects`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._writer = secrets.token_hex(4)
        self._events: list[bytes] = []
        self._blocks = 0  # complete ones that are stored

    @property
    def events(self) -> Sequence[bytes]:
        """The events, each without its line break, as of the last `read` or `append`."""
        return self._events

    def read(self) -> None:
        """Read all events.

        Raises:
            RunError: a part is missing or incomplete, or two processes have appended different events.
        """
        names = self._objects.names(_FOLDER)
        blocks = sorted(name for name in names if name.endswith(".jsonl"))
        events = [line for name in blocks for line in self._lines(name)]
        if blocks != [_block(number) for number in range(-(-len(events) // BLOCK))]:
            raise self._damaged()
        self._blocks = len(events) // BLOCK
        while segments := self._segments(events):
            events += self._resolve(segments, len(events))
        later = [name for name in names if name.isdecimal() and int(name) > len(events) // BLOCK]
        if later or not all(map(is_complete_json, events)):
            raise self._damaged()
        self._events = events

    def append(self, events: Sequence[bytes]) -> None:
        """Append `events`.

        Raises:
            RunError: another process has appended events since the last `read`.
        """
        left = list(events)
        while left:
            room = BLOCK - len(self._events) % BLOCK  # a segment lies within its block
            self._append_segment(left[:room])
            del left[:room]
            self._store_blocks()

    def _append_segment(self, events: Sequence[bytes]) -> None:
        folder, start = _folder(len(self._events)), len(self._events)
        name = f"{folder}/{start:08d}-{self._writer}.jsonl"
        self._objects.write(name, _joined(events))
        if sum(other.startswith(f"{start:08d}-") for other in self._objects.names(folder)) > 1:
            self._objects.remove(name)
            raise RunError(f"{self._objects} is written by another process too; let one of them continue, finished work is kept")
        self._events += events

    def _store_blocks(self) -> None:
        while (self._blocks + 1) * BLOCK <= len(self._events):
            block = self._events[self._blocks * BLOCK : (self._blocks + 1) * BLOCK]
            self._objects.write(f"{_FOLDER}/{_block(self._blocks)}", _joined(block))
            self._blocks += 1

    def _segments(self, events: Sequence[bytes]) -> list[str]:
        """The names, in the folder of their block, of the segments that start after `events`."""
        found = sorted(filter(_SEGMENT.fullmatch, self._objects.names(_folder(len(events)))))
        starts = {name: int(name[:8]) for name in found}
        segments = [name for name in found if starts[name] == len(events)]
        if not segments and any(start > len(events) for start in starts.values()):
            raise self._damaged()
        return segments

    def _resolve(self, segments: Sequence[str], start: int) -> list[bytes]:
        """The events of the only segment; of several, which a killed process can leave, those of the one that was continued."""
        folder = _folder(start).removeprefix(f"{_FOLDER}/")
        found = {name: self._lines(f"{folder}/{name}") for name in segments}
        if not all(found.values()):
            raise self._damaged()
        if all(lines == found[segments[0]] for lines in found.values()):
            return found[segments[0]]
        continued = [lines for name, lines in found.items() if self._continued(start + len(lines), name[9:])]
        if len(continued) != 1:
            raise RunError(
                f"{self._objects}/{_folder(start)} holds event {start} of two processes, in {' and '.join(segments)}; "
                "remove the one of the search to discard"
            )
        return continued[0]

    def _continued(self, start: int, writer: str) -> bool:
        return f"{start:08d}-{writer}" in self._objects.names(_folder(start))

    def _lines(self, name: str) -> list[bytes]:
        return (self._objects.read(f"{_FOLDER}/{name}") or b"").splitlines()

    def _damaged(self) -> RunError:
        return RunError(f"{self._objects}/{_FOLDER} is damaged: a part is missing or incomplete; restore it")


def _folder(event: int) -> str:
    return f"{_FOLDER}/{event // BLOCK:06d}"


def _block(number: int) -> str:
    return f"{number:06d}.jsonl"


def _joined(events: Sequence[bytes]) -> bytes:
    return b"".join(event + b"\n" for event in events)
