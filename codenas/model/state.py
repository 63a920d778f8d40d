"""The decoding state of a whole model."""

from dataclasses import dataclass, field
from typing import Self

from codenas.model.mixers import MixerState


@dataclass(slots=True)
class DecodingState:
    """One mixer state per layer, and the length of each sequence in tokens. All updates are in place."""

    layers: list[MixerState]
    lengths: list[int] = field(default_factory=list)

    def rows(self, start: int, stop: int) -> Self:
        """A view of some sequences. Their lengths are a copy: `LanguageModel.extend` on a view returns them advanced."""
        return type(self)([layer.rows(start, stop) for layer in self.layers], self.lengths[start:stop])

    def move(self, source: int, target: int) -> None:
        """Copy sequence `source` over sequence `target`."""
        for layer in self.layers:
            layer.move(source, target)
        self.lengths[target] = self.lengths[source]

    def swap(self, first: int, second: int) -> None:
        """Exchange two sequences."""
        for layer in self.layers:
            layer.swap(first, second)
        self.lengths[first], self.lengths[second] = self.lengths[second], self.lengths[first]

    def reset(self, row: int) -> None:
        """Make `row` an empty sequence."""
        for layer in self.layers:
            layer.reset(row)
        self.lengths[row] = 0
