"""The causal convolution against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from codenas.model.mixers.convolution import convolve

CHANNELS, WIDTH = 6, 4


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_values_and_gradients_are_those_of_torch(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, tokens + WIDTH - 1, CHANNELS), (CHANNELS, 1, WIDTH), (CHANNELS,)
    x, taps, bias = inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    found, expected = convolve(x, taps, bias), F.conv1d(x.mT, taps, bias, groups=CHANNELS).mT
    assert found.shape == (2, tokens, CHANNELS)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_channels_lie_last_in_memory_too() -> None:
    """Else everything that follows would walk through memory in strides."""
    assert convolve(torch.ones(2, 9, CHANNELS), torch.ones(CHANNELS, 1, WIDTH), torch.ones(CHANNELS)).is_contiguous()
