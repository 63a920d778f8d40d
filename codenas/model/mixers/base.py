"""The interface of a mixer, the part of a block in which tokens interact. Causal by construction: there is no mask argument."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn


class MixerState(ABC):
    """The decoding state of one layer: one row per sequence, all updates in place."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Self:
        """A view of rows `start` to `stop`: writes to it change this state."""

    @abstractmethod
    def move(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""

    @abstractmethod
    def reset(self, row: int) -> None:
        """Make `row` the state of an empty sequence."""


class Mixer(nn.Module, ABC):
    """A layer over time. `forward` and repeated `extend` give the same outputs; a contract test checks it."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """All tokens of new sequences at once: [batch, tokens, d_model] in and out."""

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> MixerState:
        """The state of `batch` empty sequences."""

    @abstractmethod
    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        """The next tokens of the sequences in `state`, which is updated.

        Args:
            x: [batch, tokens, d_model].
            lengths: tokens of each sequence before these; rows may differ (a ragged batch).
        """
