"""The leak guard catches a model that leaks on purpose, by its figure and by its logits, and leaves honest ones alone."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.errors import LeakError
from codenas.measure.plausibility import check_causal, implausible

VOCAB = 64
XZ = {"zlib": 1.9, "xz": 1.29}


class Toy(nn.Module):
    """Scores from the token itself; with `leak`, from its successor as well."""

    def __init__(self, leak: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.leak = leak
        self.here, self.next = nn.Embedding(VOCAB, VOCAB), nn.Embedding(VOCAB, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.here(tokens)
        return scores + self.next(tokens.roll(-1, dims=1)) if self.leak else scores


def train(model: Toy, steps: int = 60) -> float:
    """Train on noise, which nobody can predict; bits per byte on fresh noise, a token being a byte."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        tokens = torch.randint(VOCAB, (8, 65), generator=generator)
        loss = F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item() / math.log(2)


def test_a_leaking_model_is_caught_by_its_bits_per_byte_and_by_its_logits() -> None:
    model = Toy(leak=True)
    bits = train(model)
    (warning,) = implausible(bits, 4_500_000, XZ)
    assert warning.startswith("IMPLAUSIBLE") and f"{bits:.3f}" in warning and "4.5 M parameters" in warning
    with pytest.raises(LeakError, match="token 1 of 32 changes the logits before it"):
        check_causal(model, VOCAB, 32)


def test_an_honest_model_passes_and_cannot_predict_noise() -> None:
    model = Toy(leak=False)
    bits = train(model)
    assert bits > math.log2(VOCAB) - 0.5
    (warning,) = implausible(bits, 4_500_000, XZ)
    assert warning.startswith("WORSE THAN A COMPRESSOR") and "1.290" in warning
    check_causal(model, VOCAB, 32)


@pytest.mark.parametrize(
    ("bits", "params", "compressors", "warnings"),
    [(1.1, 4_500_000, XZ, 0), (0.39, 99_000_000, XZ, 1), (0.4, 1, XZ, 0), (0.39, 100_000_000, XZ, 0), (1.29, 1, XZ, 0), (1.3, 1, {}, 0)],
)
def test_the_band_of_plausible_figures(bits: float, params: int, compressors: dict[str, float], warnings: int) -> None:
    assert len(implausible(bits, params, compressors)) == warnings


def scores_of_previous(tokens: Tensor) -> Tensor:
    return F.one_hot(tokens, VOCAB).float().cumsum(1)


@pytest.mark.parametrize("length", [2, 3, 9, 64])
def test_looking_back_is_allowed_at_every_length(length: int) -> None:
    check_causal(scores_of_previous, VOCAB, length)


def test_one_leak_far_away_is_found() -> None:
    def last_token_everywhere(tokens: Tensor) -> Tensor:
        return scores_of_previous(tokens) + 0.01 * F.one_hot(tokens[:, -1:], VOCAB)

    with pytest.raises(LeakError, match="token 63 of 64"):
        check_causal(last_token_everywhere, VOCAB, 64)


def test_logits_that_are_not_finite_prove_nothing() -> None:
    with pytest.raises(LeakError):
        check_causal(lambda tokens: scores_of_previous(tokens) * math.nan, VOCAB, 8)


def test_a_model_with_dropout_on_is_told_apart() -> None:
    torch.manual_seed(0)
    with pytest.raises(LeakError, match="two calls .* evaluation mode"):
        check_causal(lambda tokens: F.dropout(scores_of_previous(tokens), 0.5), VOCAB, 8)
