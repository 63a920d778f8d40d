"""The interface of a mixer, the part of a block in which tokens interact. Causal by construction: there is no mask argument."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from codenas.model.positions import Positions


class MixerState(ABC):
    """The decoding state of one layer: one row per sequence, all updates in place.

    Attributes:
        truncatable: whether the layer keeps all positions, so that a sequence can be cut anywhere and any part of it saved.
    """

    truncatable: bool = False

    @abstractmethod
    def rows(self, start: int, stop: int) -> Self:
        """A view of rows `start` to `stop`: writes to it change this state."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """All that the state consists of; the first dimension of each is the row."""

    def move(self, source: int, target: int) -> None:
        """Copy row `source` over row `target`."""
        for tensor in self.tensors():
            tensor[target] = tensor[source]

    def swap(self, first: int, second: int) -> None:
        """Exchange two rows."""
        for tensor in self.tensors():
            tensor[[first, second]] = tensor[[second, first]]

    def reset(self, row: int) -> None:
        """Make `row` the state of an empty sequence: zeros."""
        for tensor in self.tensors():
            tensor[row] = 0

    def save(self, row: int, start: int, stop: int) -> tuple[Tensor, ...]:
        """A copy of what `row` holds of the positions from `start` to `stop`, which must be its end unless it is `truncatable`."""
        return tuple(tensor[row].clone() for tensor in self.tensors())

    def load(self, row: int, start: int, stop: int, saved: tuple[Tensor, ...]) -> None:
        """Append the saved positions to `row`, which holds those before `start`."""
        for tensor, value in zip(self.tensors(), saved, strict=True):
            tensor[row] = value


class Mixer(nn.Module, ABC):
    """A layer over time. `forward` and repeated `extend` give the same outputs; a contract test checks it."""

    @abstractmethod
    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        """All tokens of new sequences at once: [batch, tokens, d_model] in and out. All layers get the same `positions`."""

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
