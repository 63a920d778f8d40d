"""Tells in a line that the head of a cluster is gone. Ray ends the process a little later, with words of its own."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

_PATIENCE_S = 50.0  # Ray's own is 60: by then a head that keeps its state elsewhere may be up again
_EVERY_S = 5.0


@contextlib.contextmanager
def head_watched(host: str, port: int, patience: float = _PATIENCE_S, every: float = _EVERY_S) -> Iterator[None]:
    """End this process, with code 2, when nobody has listened at `host`:`port` for `patience` seconds.

    At once and without leaving the block: Ray's client would wait for the head in every call, also in its shutdown. What is
    stored is whole at every moment, and what is thrown away goes with the process.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(host, port, patience, every, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(host: str, port: int, patience: float, every: float, over: threading.Event) -> None:
    silent = 0.0
    while not over.wait(every):
        silent = 0.0 if listens(host, port, every) else silent + every
        if silent >= patience:
            said = f"codenas: the head of the cluster at {host}:{port} is gone; what was finished is kept, and the same command goes on"
            print(said, "once a cluster is up", file=sys.stderr, flush=True)
            os._exit(2)


def listens(host: str, port: int, timeout: float) -> bool:
    """Whether somebody takes connections at `host`:`port` within `timeout` seconds."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True
