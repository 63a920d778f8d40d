"""Worker processes that end with this process."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process

from codenas.errors import ResourceError

# Far beyond what helps anywhere; above them the system or a library ends the whole process instead of saying no.
MAX_WORKERS = 1_024
MAX_THREADS = 512


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes that end with the block, busy or not, and with this process, however it ends.

    Raises:
        ResourceError: a worker died.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ResourceError("a worker died, possibly of a lack of memory; run the same command again with fewer --workers") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():  # otherwise each would finish its work first
            process.terminate()


def _end_with_parent() -> None:
    """Ignore interrupts, which the parent handles, and exit when it has ended: a pool whose owner was killed waits for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
