"""Logging, and progress with an ETA, for terminals and log files alike. Standard library only."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

LOGGER = logging.getLogger("codenas")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, not to the one at the time of configuration."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(debug: bool = False) -> None:
    """Send the log of CodeNAS to standard error; `debug` sets the level DEBUG. Can be called again."""
    if not LOGGER.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    LOGGER.propagate = False


def duration(seconds: float) -> str:
    """Seconds formatted for people: `7s`, `2m05s`, `1h03m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Progress:
    """Progress of counted work: logs `label: 120/600 steps (20 %), detail, 41s elapsed, ETA 2m43s`.

    Args:
        total: the number of units; 0 if unknown (no ETA is shown then).
        every: seconds between two lines, at least.
        initial: units that an earlier, interrupted call finished: counted as done, excluded from the rate.
        at_most: `total` is an upper bound; it is shown as one, and so is the ETA.

    The rate is measured from the first `update` on: the start of workers before it would distort the first ETAs.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "steps",
        every: float = 5.0,
        initial: int = 0,
        at_most: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.unit, self.every, self.at_most = label, total, unit, every, at_most
        self._clock = clock
        self._start = clock()
        self._last = self._start
        self._first: tuple[float, int] | None = None
        self.done = initial

    def update(self, done: int, detail: str | Callable[[], str] = "") -> None:
        """Set the number of finished units; logs a line if the last one is old enough. A `detail` that takes time is made only then."""
        self.done = done
        if self._first is None:
            self._first = (self._clock(), done)
        if self._clock() - self._last >= self.every:
            self._last = self._clock()
            LOGGER.info(self.line(detail if isinstance(detail, str) else detail()))

    def finish(self, detail: str = "") -> None:
        """Log the closing line."""
        elapsed = duration(self._clock() - self._start)
        LOGGER.info(f"{self.label}: {self.done:,} {self.unit} in {elapsed}{', ' + detail if detail else ''}")

    def eta_seconds(self) -> float | None:
        """Estimated seconds to completion, at the rate since the first update; None before the second one or without a total."""
        if self._first is None or self.total <= 0:
            return None
        since, before = self._first
        if self.done <= before:
            return None
        return (self._clock() - since) / (self.done - before) * max(0, self.total - self.done)

    def line(self, detail: str = "") -> str:
        """The line that `update` logs."""
        share = f"/{self.total:,} {self.unit} ({100 * self.done / self.total:.0f} %)" if self.total else f" {self.unit}"
        bound = "at most " if self.at_most and self.total else ""
        if bound:
            share = f" of {bound}{self.total:,} {self.unit}"
        eta = self.eta_seconds()
        parts = [f"{self.label}: {self.done:,}{share}", detail, f"{duration(self._clock() - self._start)} elapsed"]
        if eta is not None:
            parts.append(f"ETA {bound}{duration(eta)}")
        return ", ".join(part for part in parts if part)
