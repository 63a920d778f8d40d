"""Ends this process with one line when the head of the cluster is gone. Ray does so a little later, with messages of its own."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from tune_jobs.cluster.address import listens

_PATIENCE_S = 50.0  # Ray's own is 60; within it a head that keeps its state elsewhere may be back
_INTERVAL_S = 5.0


@contextlib.contextmanager
def head_watched(host: str, port: int, patience: float = _PATIENCE_S, interval: float = _INTERVAL_S) -> Iterator[None]:
    """Exit with code 2 when nothing has listened at `host`:`port` for `patience` seconds; looks every `interval` seconds.

    The exit is immediate and does not leave the block: Ray's client would wait for the head in every call, also in its
    shutdown. Stored files are complete at every moment, and temporary files are removed with the process.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(host, port, patience, interval, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(host: str, port: int, patience: float, interval: float, over: threading.Event) -> None:
    silent = 0.0
    while not over.wait(interval):
        silent = 0.0 if listens(host, port, interval) else silent + interval
        if silent >= patience:
            message = f"codenas: the head of the cluster at {host}:{port} is gone; finished work is kept, run the same command again"
            print(message, "once the cluster is up", file=sys.stderr, flush=True)
            os._exit(2)
