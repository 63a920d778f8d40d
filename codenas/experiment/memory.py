"""Peak memory of this process and its children, and the release of what a job of this process has held."""

import contextlib
import functools
import gc
import sys
import threading
from types import TracebackType
from typing import Self

import psutil


def release_memory() -> None:
    """Free what the models of finished jobs held in this process: cycles of objects, compiled code and cached memory of a GPU.

    torch compiles a function for at most eight models at a time, runs further ones uncompiled without a word, and keeps all eight alive.
    """
    import torch  # here: what only measures memory starts without it

    if "torch._dynamo" in sys.modules:  # importing it takes seconds
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed, which is being reported
            torch.cuda.empty_cache()


@functools.cache
def exempt_imported_objects() -> None:
    """Let the collector ignore what is alive now: it would take half a second after every job to look at all modules of torch and Ray."""
    gc.freeze()


class PeakMemory:
    """Samples the total memory of the process tree every `every` seconds; pages shared by processes count once.

    Attributes:
        peak_bytes: the highest total so far.
    """

    def __init__(self, every: float = 2.0) -> None:
        self.peak_bytes = 0
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        this = psutil.Process()
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(_share(process) for process in (this, *this.children(recursive=True))))
            if self._stop.wait(self._every):
                return


def _share(process: psutil.Process) -> int:
    """Proportional set size where the system has it, else resident size; 0 for a process that has just ended."""
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    except psutil.Error:
        return 0
