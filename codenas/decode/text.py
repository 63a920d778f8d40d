"""Bytes of tokens to text, piece by piece: no character is cut, and no beginning of a stop string slips out."""

import codecs
from collections.abc import Sequence


class TextStream:
    """Push bytes, get the text that is safe to show. However the bytes are cut, the pieces join to the same text.

    Held back are an unfinished UTF-8 character and the longest end of the text that a stop string begins with, which is
    shorter than the longest stop string. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """Take the next bytes. After a stop string (`stopped`) everything is swallowed."""
        return self._release(self._decoder.decode(data))

    def close(self) -> str:
        """The text ends here: what was held back, no longer a possible stop string."""
        text = self._release(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        stop = self._first_stop()
        if stop is not None:
            self.stopped = True
            safe, self._held = self._held[:stop], ""
            return safe
        kept = self._possible_stop()
        safe, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return safe

    def _first_stop(self) -> int | None:
        """Where the stop string begins that is complete first: as if the text came character by character."""
        found = ((self._held.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in found if start >= 0]
        return min(ends)[1] if ends else None

    def _possible_stop(self) -> int:
        """Characters at the end of the held text that may become a stop string."""
        for kept in range(min(self._longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-kept:]) for stop in self._stops):
                return kept
        return 0
