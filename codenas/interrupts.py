"""Ctrl-C and SIGTERM: one way out, whenever they come and however often.

Before a command and after it they wait or are ignored, in it they raise `KeyboardInterrupt`, and in its `held` parts they wait.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_early: list[int] = []


def hold_back() -> None:
    """Keep both signals for `listening`: while the program is still being imported, nobody could say anything sensible."""
    _handle(_note)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Let signals in while the block runs: one `KeyboardInterrupt`, until that has come out. After it they are ignored.

    Does nothing unless they were held back: a command that another program calls leaves that program's handlers alone.
    """
    if signal.getsignal(signal.SIGINT) is not _note:
        yield
        return
    _handle(_interrupt)
    try:
        if _early:
            raise KeyboardInterrupt
        yield
    finally:
        _handle(signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep both signals back while the block runs: what must not be torn in two, such as the start and the end of a cluster.

    What arrived meanwhile is delivered at the end. Handlers that the block sets are undone.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the business of that one
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
    if not _interrupted(sys.exception()):  # who is impatient must not break the cleaning up
        raise KeyboardInterrupt


def _interrupted(error: BaseException | None) -> bool:
    """Whether what is handled just now is an interrupt, or came up while one was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
