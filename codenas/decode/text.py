"""Incremental detokenisation: text without partial characters or parts of a stop string."""

import codecs
from collections.abc import Sequence


class TextStream:
    """Decodes bytes to text that is final. The joined text does not depend on how the bytes are split.

    An incomplete UTF-8 character and the longest suffix of the text that is a prefix of a stop string are held back; the
    latter is shorter than the longest stop string. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """Add the next bytes. After a stop string (`stopped`) they are ignored."""
        return self._release(self._decoder.decode(data))

    def close(self) -> str:
        """End the text; returns what was held back."""
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
        """The start of the stop string that ends first, as if the text arrived character by character; None without one."""
        found = ((self._held.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in found if start >= 0]
        return min(ends)[1] if ends else None

    def _possible_stop(self) -> int:
        """The number of characters at the end of the held text that may become a stop string."""
        for kept in range(min(self._longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-kept:]) for stop in self._stops):
                return kept
        return 0
