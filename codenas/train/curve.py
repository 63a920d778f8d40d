"""The training curve: losses by step, the worker, start and duration."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import SupportsFloat

from codenas.metrics import TrainingCurve

_POINTS = 25  # of a curve: enough for a plot, while a line of the history stays short


@dataclass(slots=True)
class Step:
    """The result of one training step: its number (1 is the first), the mean loss in nats per target, its duration.

    `float(loss)` may wait for a GPU; there the duration is that of handing the step over, which over many steps is the same.
    """

    step: int
    loss: SupportsFloat
    seconds: float


class CurveRecorder:
    """Records the training curve from its creation on."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._started = clock, clock()
        self._losses: list[tuple[int, SupportsFloat]] = []

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yield `steps` and record each."""
        for step in steps:
            self._losses.append((step.step, step.loss))
            yield step

    def curve(self) -> TrainingCurve:
        """The curve so far."""
        worker, seconds = f"{platform.node()}:{os.getpid()}", self._clock() - self._started
        losses = [(step, float(loss)) for step, loss in self._losses]
        return TrainingCurve(worker=worker, started=self._started, seconds=max(0.0, seconds), losses=thinned(losses))


def thinned(losses: Sequence[tuple[int, float]], points: int = _POINTS) -> tuple[tuple[int, float], ...]:
    """At most `points` means over as many steps each: (the last of these steps, mean loss)."""
    size = max(1, -(-len(losses) // points))
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    return tuple((part[-1][0], round(fmean(loss for _, loss in part), 4)) for part in parts)
