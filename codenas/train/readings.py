"""Losses and gradient norms, read from the device without making it wait.

A GPU works through a queue. Whoever reads a number of it waits until the queue is empty, and the GPU then waits for new work: read in
every step, that is a good part of the time of a small model. So the numbers of `EVERY` steps are copied together, into pinned memory,
and looked at when the next ones are copied: by then they have long arrived.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from torch import Tensor

from codenas.errors import TrialFailure

EVERY = 16  # steps whose numbers are read together


class Loss:
    """The loss of a step, in nats per target; `float` of it waits until it is known."""

    __slots__ = ("_readings", "step", "value")

    def __init__(self, step: int, readings: "Readings") -> None:
        self.step, self._readings = step, readings
        self.value: float | None = None

    def __float__(self) -> float:
        if self.value is None:
            self._readings.check()
        assert self.value is not None
        return self.value


@dataclass(slots=True)
class _Block:
    """Numbers on their way to the host: [steps, 2], a loss and a norm each."""

    losses: list[Loss]
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Readings:
    """The numbers of the steps of one training, in order.

    On a CPU they are there when they are added, and a step that is not finite fails before it changes a weight. On any other device it
    fails some steps later: `check` before what has been trained is used or stored.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._losses: list[Loss] = []
        self._numbers: list[Tensor] = []
        self._blocks: deque[_Block] = deque()

    def add(self, step: int, loss: Tensor, norm: Tensor) -> SupportsFloat:
        """Add the loss and the norm of the gradient of `step` (1 is the first).

        Raises:
            TrialFailure: a number of this step, or of an earlier one, is not finite.
        """
        if self._device.type == "cpu":
            return _finite(step, float(loss), float(norm))
        self._losses.append(Loss(step, self))
        self._numbers.append(torch.stack((loss, norm)))
        added = self._losses[-1]
        if len(self._losses) == EVERY:
            self._send()
            if len(self._blocks) > 1:
                self._receive()
        return added

    def check(self) -> None:
        """Wait for all numbers.

        Raises:
            TrialFailure: one is not finite.
        """
        if self._losses:
            self._send()
        while self._blocks:
            self._receive()

    def forget(self) -> None:
        """Drop what has not been read: the training goes on from another state."""
        self._losses, self._numbers = [], []
        self._blocks.clear()

    def _send(self) -> None:
        found = torch.stack(self._numbers)
        on_gpu = self._device.type == "cuda"
        numbers = torch.empty(found.shape, dtype=found.dtype, pin_memory=on_gpu)
        numbers.copy_(found, non_blocking=on_gpu)
        arrived = torch.cuda.Event() if on_gpu else None
        if arrived is not None:
            arrived.record()
        self._blocks.append(_Block(self._losses, numbers, arrived))
        self._losses, self._numbers = [], []

    def _receive(self) -> None:
        block = self._blocks.popleft()
        if block.arrived is not None:
            block.arrived.synchronize()
        for reading, (loss, norm) in zip(block.losses, block.numbers.tolist(), strict=True):
            reading.value = _finite(reading.step, loss, norm)


def _finite(step: int, loss: float, norm: float) -> float:
    """`loss`. Raises: TrialFailure: it or `norm` is not finite."""
    for what, number in (("loss", loss), ("norm of the gradient", norm)):
        if not math.isfinite(number):
            raise TrialFailure(f"diverged: the {what} of step {step} is {number}")
    return loss
