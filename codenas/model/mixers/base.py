"""What a mixer is: the part of a block where tokens meet. Causal by construction: there is no mask argument anywhere."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn


class MixerState(ABC):
    """What one layer remembers of the sequences it decodes: one row per sequence, all updates in place."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Self:
        """A view of rows `start` to `stop`: what is written to it is written here."""

    @abstractmethod
    def move(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""

    @abstractmethod
    def reset(self, row: int) -> None:
        """Make `row` remember nothing."""


class Mixer(nn.Module, ABC):
    """A layer over time. `forward` and repeated `extend` give the same outputs; a contract test proves it."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """All tokens at once, from the beginning: [batch, tokens, d_model] in and out."""

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> MixerState:
        """A state that remembers nothing, for `batch` sequences."""

    @abstractmethod
    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        """The next tokens of sequences that `state` remembers; `state` learns them.

        Args:
            x: [batch, tokens, d_model].
            lengths: tokens that each sequence has had before these; rows may differ (a ragged batch).
        """
