"""Attention in blocks against the plain definition: the whole square of scores, masked."""

import pytest
import torch
from torch import Tensor

from codenas.model.mixers import blockwise
from codenas.model.mixers.blockwise import blockwise_attention


def plain_attention(query: Tensor, key: Tensor, value: Tensor, window: int, bias: Tensor | None) -> Tensor:
    group, tokens = query.shape[1] // key.shape[1], query.shape[2]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
    scores = query @ key.mT / query.shape[-1] ** 0.5 + (0 if bias is None else bias)
    return scores.masked_fill((distance < 0) | (distance >= window), float("-inf")).softmax(-1) @ value


def drawn(heads: int, tokens: int, seed: int) -> Tensor:
    """As a projection leaves them: heads are strided, not contiguous."""
    made = torch.randn(2, tokens, heads, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.transpose(1, 2).detach().requires_grad_()


@pytest.mark.parametrize("tokens", [1, 5, 128, 129, 300])
@pytest.mark.parametrize("window", [1, 7, 128, 140, 1000])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_values_and_gradients_are_those_of_the_definition(tokens: int, window: int, kv_heads: int) -> None:
    inputs = drawn(4, tokens, 0), drawn(kv_heads, tokens, 1), drawn(kv_heads, tokens, 2)
    _assert_equal(inputs, window, None)


@pytest.mark.parametrize("tokens", [5, 300])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_bias_of_every_head_is_added_to_the_scores(tokens: int, kv_heads: int) -> None:
    inputs = drawn(4, tokens, 0), drawn(kv_heads, tokens, 1), drawn(kv_heads, tokens, 2)
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.01], dtype=torch.float64)[:, None, None]
    _assert_equal(inputs, tokens, (-slopes * distance).masked_fill(distance < 0, float("-inf")))


def _assert_equal(inputs: tuple[Tensor, Tensor, Tensor], window: int, bias: Tensor | None) -> None:
    found, expected = blockwise_attention(*inputs, window, bias), plain_attention(*inputs, window, bias)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mine, others = (torch.autograd.grad((mixed * weights).sum(), inputs) for mixed in (found, expected))
    for one, other in zip(mine, others, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_dropped_weights_get_no_gradient_and_the_others_their_part(kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = drawn(2, 200, 0), drawn(kv_heads, 200, 1), drawn(kv_heads, 200, 2)

    def gradients() -> tuple[Tensor, ...]:
        torch.manual_seed(0)  # drops the same weights every time
        return torch.autograd.grad(blockwise_attention(*inputs, 150, dropout=0.3).square().sum(), inputs)

    by_hand = gradients()
    monkeypatch.setattr(blockwise, "custom_backward", lambda x: False)
    for one, other in zip(by_hand, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)  # the share that is kept is a number of single precision


def test_who_only_looks_ahead_sees_the_same() -> None:
    inputs = drawn(4, 200, 0), drawn(2, 200, 1), drawn(2, 200, 2)
    with torch.no_grad():
        ahead = blockwise_attention(*inputs, 150)
    torch.testing.assert_close(ahead, blockwise_attention(*inputs, 150).detach())


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    query, key = drawn(2, 64, 0), drawn(2, 64, 1)
    value = torch.ones_like(key)
    torch.manual_seed(0)
    mixed = blockwise_attention(query, key, value, 64, dropout=0.5)
    assert mixed.std() > 0.1
    assert mixed.mean().item() == pytest.approx(1.0, abs=0.1)
