"""Progress of a stage in documents, documents per second and megabytes per second."""

import time

from codenas.log import Progress


class ThroughputProgress:
    """Counts documents and bytes and logs them with an ETA. The documents `already` done by an earlier run count in no rate."""

    def __init__(self, label: str, documents: int, already: int = 0) -> None:
        self._progress, self._start = Progress(label, documents, "documents", initial=already), time.monotonic()
        self._documents = self._bytes = 0
        self._already = already

    def add(self, documents: int, size: int) -> None:
        """Count finished work."""
        self._documents += documents
        self._bytes += size
        self._progress.update(self._already + self._documents, self._rates())

    def finish(self) -> None:
        """Log the closing line."""
        self._progress.finish(self._rates())

    def _rates(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        return f"{self._documents / seconds:,.0f} docs/s, {self._bytes / 1e6 / seconds:.1f} MB/s"
