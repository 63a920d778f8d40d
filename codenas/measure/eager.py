"""The eager path of torch as a decoder that can be timed."""

import torch

from codenas.decode.backend import ForwardBatch, Logits
from codenas.model import LanguageModel


class EagerDecoder:
    """A model and the decoding state of some sequences. The batches that are timed are of two kinds: tokens of one slot, or one of each.

    Attributes:
        vocab_size: logits per token.
    """

    def __init__(self, model: LanguageModel, slots: int) -> None:
        self._model, self._slots = model, slots
        self._state = model.initial_state(2 * slots)  # the second half are the marked ones
        self.vocab_size = model.vocab_size

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch) -> Logits:
        """See `codenas.decode.backend.Backend.forward`."""
        tokens = torch.from_numpy(batch.tokens).long()
        one_slot = batch.slots[0] == batch.slots[-1]
        state = self._state.rows(int(batch.slots[0]), int(batch.slots[-1]) + 1)
        logits = self._model.extend(tokens[None] if one_slot else tokens[:, None], state)
        self._state.lengths[int(batch.slots[0]) : int(batch.slots[-1]) + 1] = state.lengths
        wanted: Logits = logits.flatten(0, 1)[torch.from_numpy(batch.wanted).long()].numpy()
        return wanted

    def reset(self, slot: int) -> None:
        """Make `slot` an empty sequence."""
        self._state.reset(slot)

    def mark(self, slot: int) -> None:
        """Remember the sequence in `slot`."""
        self._state.move(slot, self._slots + slot)

    def rewind(self, slot: int) -> None:
        """Make `slot` the sequence that it was at `mark`."""
        self._state.move(self._slots + slot, slot)

    def close(self) -> None:
        """Do nothing: torch frees its memory."""
