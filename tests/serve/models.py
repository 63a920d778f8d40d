"""Models that misbehave on command."""

import threading

import torch
from torch import Tensor

from codenas.model import DecodingState, LanguageModel
from tests.serve.servers import PATIENCE_S, tiny_model


class Gated(LanguageModel):
    """Makes a step only when the test opens the gate for one."""

    gate: threading.Semaphore
    steps: int

    def extend(self, tokens: Tensor, state: DecodingState, wanted: Tensor | None = None) -> Tensor:
        assert self.gate.acquire(timeout=PATIENCE_S)
        self.steps += 1
        return super().extend(tokens, state, wanted)


def gated_model(open_steps: int = 0) -> Gated:
    """A `Gated` tiny model."""
    model = tiny_model()
    model.__class__ = Gated
    assert isinstance(model, Gated)
    model.gate, model.steps = threading.Semaphore(open_steps), 0
    return model


class Poisoned(LanguageModel):
    """Has no numbers for what follows `poison`, and explodes on `bomb`."""

    poison = bomb = -1

    def extend(self, tokens: Tensor, state: DecodingState, wanted: Tensor | None = None) -> Tensor:
        if bool((tokens == self.bomb).any()):
            raise RuntimeError("boom")
        assert wanted is not None
        scores = super().extend(tokens, state, wanted)
        return torch.where((tokens.flatten()[wanted] == self.poison)[:, None], torch.nan, scores)


def poisoned_model(poison: int, bomb: int) -> Poisoned:
    """A `Poisoned` tiny model."""
    model = tiny_model()
    model.__class__ = Poisoned
    assert isinstance(model, Poisoned)
    model.poison, model.bomb = poison, bomb
    return model
