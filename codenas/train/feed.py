"""The batches of a training on its device: for a GPU they are drawn, rewritten and pinned in a thread, one step ahead."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from codenas.corpus.batches import Batches

Batch = tuple[Tensor, Tensor]


class Feed:
    """Inputs and targets of `count` sequences, each [count, context_len], on `device`.

    A batch is a function of its cursor: one that was drawn ahead and is not the one that is asked for is thrown away.
    """

    def __init__(self, batches: Batches, count: int, device: torch.device) -> None:
        self._batches, self._count, self._device = batches, count, device
        # On a CPU the thread would only take turns with the training.
        self._thread = None if device.type == "cpu" else ThreadPoolExecutor(1, "batches")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def at(self, cursor: int) -> Batch:
        """The batch that begins at `cursor`; the next one is drawn meanwhile.

        Raises:
            CorpusError: the corpus is damaged there.
        """
        if self._thread is None:
            return self._drawn(cursor)
        drawn, future = self._ahead or (cursor, self._thread.submit(self._drawn, cursor))
        inputs, targets = (future if drawn == cursor else self._thread.submit(self._drawn, cursor)).result()
        self._ahead = (cursor + self._count, self._thread.submit(self._drawn, cursor + self._count))
        # From pinned memory the copy joins the device's queue; from any other the host would wait for it.
        return inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)

    def _drawn(self, cursor: int) -> Batch:
        inputs, targets = (torch.from_numpy(side) for side in self._batches.at(cursor, self._count))
        return (_pinned(inputs), _pinned(targets)) if self._device.type == "cuda" else (inputs, targets)


def _pinned(ids: Tensor) -> Tensor:
    return ids.contiguous().pin_memory()  # inputs and targets are views of one array, and only what is contiguous is copied at once
