"""The backend over torch: any device, any design. Sequences of as many new tokens each are one batch of the model."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from codenas.decode.backend import Backend, ForwardBatch, Logits, Run, StateBlock, runs_of
from codenas.model import LanguageModel


@dataclass(slots=True, frozen=True)
class TorchStateBlock:
    """A `StateBlock` as tensors, by layer."""

    start: int
    stop: int
    layers: list[tuple[Tensor, ...]]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


class TorchBackend(Backend):
    """A model of torch with one decoding state for all slots.

    The model extends neighbouring rows of its state only, so a slot's row is moved when the sequences that are decoded together
    are no neighbours: once or twice in the life of a sequence.
    """

    def __init__(self, model: LanguageModel, slots: int = 1, max_tokens: int = 512) -> None:
        self._model, self._state = model, model.initial_state(slots)
        self._row_of = list(range(slots))  # the row of each slot
        self._marks: dict[int, TorchStateBlock] = {}
        self.vocab_size, self.context_len = model.vocab_size, model.arch.context_len
        self.slots, self.max_tokens = slots, max_tokens
        self.truncatable = all(layer.truncatable for layer in self._state.layers)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Logits:
        logits = np.empty((len(batch.wanted), self.vocab_size), np.float32)
        for runs in self._groups(batch):
            rows = [self._row_of[run.slot] for run in runs]
            span = slice(rows[0], rows[-1] + 1)
            members = np.concatenate([np.arange(run.start, run.stop) for run in runs])
            _, where, wanted = np.intersect1d(members, batch.wanted, assume_unique=True, return_indices=True)
            view = self._state.rows(span.start, span.stop)
            tokens = self._on_device(batch.tokens[members]).view(len(runs), -1)
            logits[wanted] = self._model.extend(tokens, view, self._on_device(where)).float().cpu().numpy()
            self._state.lengths[span] = view.lengths
        return logits

    def length(self, slot: int) -> int:
        return self._state.lengths[self._row_of[slot]]

    @torch.inference_mode()
    def reset(self, slot: int) -> None:
        # Masked values of an earlier sequence get weight 0 in softmax, but 0 * NaN is NaN: the row must be cleared.
        self._state.reset(self._row_of[slot])

    @torch.inference_mode()
    def copy(self, source: int, target: int) -> None:
        self._state.move(self._row_of[source], self._row_of[target])

    def truncate(self, slot: int, length: int) -> None:
        if not self.truncatable or not 0 <= length <= self.length(slot):
            raise ValueError(f"a sequence of {self.length(slot)} tokens cannot be truncated to {length}")
        self._state.lengths[self._row_of[slot]] = length

    @torch.inference_mode()
    def mark(self, slot: int) -> None:
        end = self.length(slot)
        layers = [() if layer.truncatable else layer.save(self._row_of[slot], 0, end) for layer in self._state.layers]
        self._marks[slot] = TorchStateBlock(0, end, layers)

    @torch.inference_mode()
    def rewind(self, slot: int) -> None:
        mark = self._marks[slot]
        for layer, saved in zip(self._state.layers, mark.layers, strict=True):
            if not layer.truncatable:
                layer.load(self._row_of[slot], 0, mark.stop, saved)
        self._state.lengths[self._row_of[slot]] = mark.stop

    @torch.inference_mode()
    def save(self, slot: int, start: int, stop: int) -> StateBlock:
        end = self.length(slot)
        if not 0 <= start < stop <= end or (stop < end and not self.truncatable):
            raise ValueError(f"positions {start} to {stop} of a sequence of {end} cannot be saved")
        return TorchStateBlock(start, stop, [layer.save(self._row_of[slot], start, stop) for layer in self._state.layers])

    @torch.inference_mode()
    def restore(self, slot: int, blocks: Sequence[StateBlock]) -> None:
        self.reset(slot)
        row = self._row_of[slot]
        for block in cast(Sequence[TorchStateBlock], blocks):
            for layer, saved in zip(self._state.layers, block.layers, strict=True):
                layer.load(row, block.start, block.stop, saved)
            self._state.lengths[row] = block.stop

    def state_bytes(self, length: int) -> int:
        return sum(tensor[0].nbytes for layer in self._state.layers for tensor in layer.tensors())

    def _on_device(self, array: np.ndarray[tuple[int], np.dtype[np.integer]]) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self._model.device)

    def _groups(self, batch: ForwardBatch) -> list[list[Run]]:
        """The sequences by their number of tokens, each group in neighbouring rows, in their order.

        Only the largest group is moved together; sequences of the others are extended one by one unless they are neighbours already.
        """
        by_count: dict[int, list[Run]] = defaultdict(list)
        for run in runs_of(batch):
            by_count[run.stop - run.start].append(run)
        self._gather([run.slot for run in max(by_count.values(), key=len)])
        groups: list[list[Run]] = []
        for runs in by_count.values():
            for run in sorted(runs, key=lambda run: self._row_of[run.slot]):
                last = groups[-1][-1] if groups and groups[-1][0] in runs else None
                if last is not None and self._row_of[last.slot] + 1 == self._row_of[run.slot]:
                    groups[-1].append(run)
                else:
                    groups.append([run])
        return groups

    def _gather(self, slots: list[int]) -> None:
        """Move the rows of `slots` together, unless they are."""
        rows = sorted(self._row_of[slot] for slot in slots)
        if rows[-1] - rows[0] + 1 == len(rows):
            return
        for target, source in enumerate(rows):
            if source != target:  # an earlier exchange only moved rows below this one
                displaced, moved = self._row_of.index(target), self._row_of.index(source)
                self._state.swap(source, target)
                self._row_of[displaced], self._row_of[moved] = source, target
