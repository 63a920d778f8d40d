"""Ends this process with a one-line error when the head of the cluster cannot be reached. Ray would do so later, with long messages."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from tune_jobs.cluster.address import listens

_PATIENCE_S = 50.0  # Ray's own is 60; a fault-tolerant head may restart within it
_INTERVAL_S = 5.0


@contextlib.contextmanager
def head_watched(host: str, port: int, patience: float = _PATIENCE_S, interval: float = _INTERVAL_S) -> Iterator[None]:
    """Exit with code 2 when nothing has listened at `host`:`port` for `patience` seconds; checks every `interval` seconds.

    The exit is immediate and does not leave the block: Ray's client would wait for the head in every call, also in its
    shutdown. Stored files are complete at every moment, and temporary files are removed with the process.
    """
    stopped = threading.Event()
    threading.Thread(target=_watch, args=(host, port, patience, interval, stopped), daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _watch(host: str, port: int, patience: float, interval: float, stopped: threading.Event) -> None:
    unreachable = 0.0
    while not stopped.wait(interval):
        unreachable = 0.0 if listens(host, port, interval) else unreachable + interval
        if unreachable >= patience:
            message = f"codenas: the head of the cluster at {host}:{port} is unreachable; finished work is kept, run the same command again"
            print(message, "once the cluster is up", file=sys.stderr, flush=True)
            os._exit(2)
