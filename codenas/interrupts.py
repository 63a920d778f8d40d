"""Handling of Ctrl-C and SIGTERM, whenever and however often they arrive.

Before a command they are deferred, after it ignored. During a command they raise `KeyboardInterrupt`, except in blocks of
`interrupts_deferred`, which defer them.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_early: list[int] = []


def defer_interrupts() -> None:
    """Defer both signals until `interruptible`: while modules are still being imported, there is nothing useful to report."""
    _handle(_note)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise one `KeyboardInterrupt` for signals while the block runs; ignore them afterwards.

    Does nothing unless `defer_interrupts` was called: a command that another program calls keeps that program's handlers.
    """
    if signal.getsignal(signal.SIGINT) is not _note:
        yield
        return
    _handle(_interrupt)
    try:
        if _early:
            _early.clear()  # delivered: a program that runs several commands is interrupted once
            raise KeyboardInterrupt
        yield
    finally:
        _handle(signal.SIG_IGN)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer both signals while the block runs, which must not be interrupted, such as the start and the end of a cluster.

    Deferred signals are delivered at the end. Handlers that the block sets are restored to those before it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _note(number: int, _frame: FrameType | None) -> None:
    _early.append(number)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if not _interrupted(sys.exception()):  # a second Ctrl-C must not interrupt the cleanup
        raise KeyboardInterrupt


def _interrupted(error: BaseException | None) -> bool:
    """Whether `error` is an interrupt, or was raised while one was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
