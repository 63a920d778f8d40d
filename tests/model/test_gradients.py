"""Ways back that are written out by hand, against those that torch derives from the definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.model.gradients import custom_backward
from codenas.model.norms import EPSILON, rms_norm
from codenas.model.positions import rotary_table, rotate


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected)
    upstream = drawn(*expected.shape, seed=9).detach()
    mine, theirs = (torch.autograd.grad(output, inputs, upstream) for output in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 4, 3, 6)])
@pytest.mark.parametrize("gained", [True, False])
def test_root_mean_square_norm(shape: tuple[int, ...], gained: bool) -> None:
    x, gain = drawn(*shape, seed=0), drawn(shape[-1], seed=1) if gained else None
    inputs = [x] if gain is None else [x, gain]
    assert_same(rms_norm(x, gain), F.rms_norm(x, shape[-1:], gain, EPSILON), inputs)


def test_a_norm_of_low_precision_has_a_gain_of_full_precision() -> None:
    x, gain = drawn(64, 32, seed=0, dtype=torch.bfloat16), drawn(32, seed=1, dtype=torch.float32)
    exact = x.detach().double().requires_grad_(), gain.detach().double().requires_grad_()
    found, expected = rms_norm(x, gain), rms_norm(*exact)
    assert found.dtype == torch.bfloat16
    (found * found.detach()).sum().backward()
    (expected * expected.detach()).sum().backward()
    assert x.grad is not None and gain.grad is not None and exact[0].grad is not None and exact[1].grad is not None
    torch.testing.assert_close(gain.grad.double(), exact[1].grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(x.grad.double(), exact[0].grad, rtol=0.02, atol=0.1)


def test_rotation() -> None:
    x = drawn(2, 3, 7, 8, seed=0)
    cos, sin = (table.double() for table in rotary_table(7, 8))
    pairs = torch.complex(*x.chunk(2, -1)) * torch.complex(cos[:, :4], sin[:, 4:])
    assert_same(rotate(x, cos, sin), torch.cat((pairs.real, pairs.imag), -1), [x])


def test_who_only_looks_ahead_gets_the_same_values() -> None:
    x, gain = drawn(2, 3, 7, 8, seed=0), drawn(8, seed=1)
    cos, sin = (table.double() for table in rotary_table(7, 8))
    assert custom_backward(x)
    trained = rotate(rms_norm(x, gain), cos, sin)
    with torch.no_grad():
        assert not custom_backward(x)
        torch.testing.assert_close(rotate(rms_norm(x, gain), cos, sin), trained.detach())
