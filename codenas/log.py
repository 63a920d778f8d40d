"""Logging and progress with an ETA, for a terminal and for a log file alike. Standard library only."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

LOGGER = logging.getLogger("codenas")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now, not to what it was when logging was configured."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(debug: bool = False) -> None:
    """Send the log of CodeNAS to standard error, once; `debug` adds the detail."""
    if not LOGGER.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    LOGGER.propagate = False


def duration(seconds: float) -> str:
    """Seconds as people read them: `7s`, `2m05s`, `1h03m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Progress:
    """Counted work: logs `label 120/600 (20 %) detail, 41s gone, 2m43s left` at most every `every` seconds.

    Args:
        total: units of work in all; 0 where nobody knows (then no ETA is shown).
        at_most: whether there may turn out to be less to do than `total`: shown as a bound, and so is the ETA.
        already: units that an earlier, interrupted call had finished: shown as done, left out of the rate.

    The rate is that since the first `update`: what comes before it (workers that start) would make the first ETAs absurd.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "steps",
        every: float = 5.0,
        already: int = 0,
        at_most: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.unit, self.every, self.at_most = label, total, unit, every, at_most
        self._clock = clock
        self._start = clock()
        self._last = self._start
        self._first: tuple[float, int] | None = None
        self.done = already

    def update(self, done: int, detail: str = "") -> None:
        """Say that `done` units are finished in all; prints when the last line is old enough."""
        self.done = done
        if self._first is None:
            self._first = (self._clock(), done)
        if self._clock() - self._last >= self.every:
            self._last = self._clock()
            LOGGER.info(self.line(detail))

    def finish(self, detail: str = "") -> None:
        """Print the closing line."""
        elapsed = duration(self._clock() - self._start)
        LOGGER.info(f"{self.label}: {self.done:,} {self.unit} in {elapsed}{', ' + detail if detail else ''}")

    def eta_seconds(self) -> float | None:
        """Seconds to go at the rate since the first update; None before the second or without a total."""
        if self._first is None or self.total <= 0:
            return None
        since, before = self._first
        if self.done <= before:
            return None
        return (self._clock() - since) / (self.done - before) * max(0, self.total - self.done)

    def line(self, detail: str = "") -> str:
        """The progress line that `update` prints."""
        share = f"/{self.total:,} {self.unit} ({100 * self.done / self.total:.0f} %)" if self.total else f" {self.unit}"
        bound = "at most " if self.at_most and self.total else ""
        if bound:
            share = f" of {bound}{self.total:,} {self.unit}"
        eta = self.eta_seconds()
        parts = [f"{self.label}: {self.done:,}{share}", detail, f"{duration(self._clock() - self._start)} gone"]
        if eta is not None:
            parts.append(f"{bound}{duration(eta)} left")
        return ", ".join(part for part in parts if part)
