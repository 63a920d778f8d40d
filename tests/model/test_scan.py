"""The chunked scan against its recurrence, written out token by token."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codenas.model.mixers.scan import CHUNK, RecurrentState, fading, scan

KEY_WIDTH, VALUE_WIDTH, HEADS = 5, 3, 4
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # queries, keys, values, log decays


def recurrence(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and last state, literally: S = exp(log_decay) S + k v^T; o = q S."""
    shared = value.shape[2] // key.shape[2]
    query, key = query.repeat_interleave(shared, 2), key.repeat_interleave(shared, 2)
    outputs = []
    for t in range(value.shape[1]):
        state = log_decay[:, t].exp()[..., None, None] * state + torch.einsum("bhk,bhv->bhkv", key[:, t], value[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", query[:, t], state))
    return torch.stack(outputs, 1), state


def drawn(tokens: int, groups: int = 1, dtype: torch.dtype = torch.float64, seed: int = 0) -> Inputs:
    """Two sequences."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator, dtype=dtype)

    query, key, value = draw(tokens, groups, KEY_WIDTH), draw(tokens, groups, KEY_WIDTH), draw(tokens, HEADS, VALUE_WIDTH)
    return query, key, value, -draw(tokens, HEADS).exp() / 8


def each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """All four inputs, changed."""
    query, key, value, log_decay = inputs
    return change(query), change(key), change(value), change(log_decay)


def drawn_state(seed: int = 1) -> RecurrentState:
    shape = (2, HEADS, KEY_WIDTH, VALUE_WIDTH)
    return RecurrentState(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def nothing() -> RecurrentState:
    return RecurrentState.empty((2, HEADS, KEY_WIDTH, VALUE_WIDTH), torch.device("cpu"), torch.float64)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, HEADS])
@pytest.mark.parametrize("tokens", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
def test_chunks_equal_the_recurrence(tokens: int, groups: int) -> None:
    inputs, memory = drawn(tokens, groups), drawn_state()
    expected, last = recurrence(*inputs, memory.matrices)
    assert_same(scan(*inputs, memory), expected)
    assert_same(memory.matrices, last)


@given(tokens=st.integers(1, 40), chunk=st.integers(1, 12), cut=st.integers(0, 39), groups=st.sampled_from([1, 2, HEADS]))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_nothing_depends_on_where_chunks_and_calls_begin(tokens: int, chunk: int, cut: int, groups: int) -> None:
    inputs, memory = drawn(tokens, groups), nothing()
    parts = each(lambda x: x[:, :cut], inputs), each(lambda x: x[:, cut:], inputs)
    found = [scan(*part, memory, chunk=chunk) for part in parts if part[0].shape[1]]
    expected, last = recurrence(*inputs, nothing().matrices)
    assert_same(torch.cat(found, 1), expected)
    assert_same(memory.matrices, last)


@pytest.mark.parametrize("groups", [1, HEADS])
def test_gradients_equal_those_of_the_recurrence(groups: int) -> None:
    inputs = each(Tensor.requires_grad_, drawn(2 * CHUNK + 3, groups))
    found = torch.autograd.grad(scan(*inputs).square().sum(), inputs)
    expected = torch.autograd.grad(recurrence(*inputs, nothing().matrices)[0].square().sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_a_memory_is_none_or_empty_at_the_beginning() -> None:
    inputs = drawn(CHUNK + 7)
    assert torch.equal(scan(*inputs), scan(*inputs, nothing()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_that_forget_at_once_break_no_gradient(dtype: torch.dtype) -> None:
    """exp of what lies above the diagonal would be infinite here."""
    query, key, value, log_decay = drawn(2 * CHUNK, HEADS)
    inputs = each(Tensor.requires_grad_, (query.to(dtype), key.to(dtype), value.to(dtype), log_decay.float() - 100))
    outputs = scan(*inputs)
    assert outputs.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(outputs.float().square().sum(), inputs))


def test_decays_are_summed_in_float32_under_autocast() -> None:
    """Sums to -64 in bfloat16 would be off by an eighth, and what is read by as much."""
    query, key, value, _ = drawn(CHUNK, HEADS, torch.float32)
    log_decay = torch.full((2, CHUNK, HEADS), -1.03)
    with torch.autocast("cpu", torch.bfloat16):
        found = scan(query.bfloat16(), key.bfloat16(), value.bfloat16(), log_decay)
    expected, _ = recurrence(query, key, value, log_decay, nothing().matrices.float())
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_a_memory_is_never_of_half_precision() -> None:
    """A head that remembers for long adds little: in bfloat16 the sum would stop to grow after some hundred tokens."""
    memory = RecurrentState.empty((1, 1, 1, 1), torch.device("cpu"), torch.bfloat16)
    one = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    for _ in range(1000):
        scan(one, one, one, torch.zeros(1, 1, 1), memory)
    assert memory.matrices.item() == 1000


def test_what_fades_is_a_product_of_decays() -> None:
    decays = fading(torch.tensor([0.5, 0.25, 0.1], dtype=torch.float64).log(), torch.float64)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.25, 1.0, 0.0], [0.025, 0.1, 1.0]], dtype=torch.float64)
    assert_same(decays, expected)
