"""RWKV-7 against its recurrence, written out token by token and head by head from the paper, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codenas.arch import ArchSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.model import build_model
from codenas.model.mixers import build_mixer, delta, rwkv7
from codenas.model.mixers.rwkv7 import Rwkv7, RwkvState
from codenas.model.positions import Positions

D_MODEL, HEAD_WIDTH, BATCH = 24, 8, 2
SPEC = RwkvSpec(head_width=HEAD_WIDTH, rank=4, gate_rank=5)
LENGTHS = [1, 2, delta.CHUNK - 1, delta.CHUNK, delta.CHUNK + 1, 3 * delta.CHUNK + 5]


def mixed(mixer: Rwkv7, x: Tensor) -> Tensor:
    found: Tensor = mixer(x, Positions(x.shape[1], x.device))
    return found


def drawn_mixer(spec: RwkvSpec = SPEC, d_model: int = D_MODEL, seed: int = 0) -> Rwkv7:
    """A layer whose every weight has been moved away from where training starts."""
    mixer = build_mixer(spec, ArchSpec(d_model=d_model, n_layers=1, pattern=(spec,)))
    assert isinstance(mixer, Rwkv7)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.3, generator=generator))
    return mixer.double()


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_state(mixer: Rwkv7, batch: int = BATCH) -> RwkvState:
    empty = mixer.initial_state(batch, torch.device("cpu"), torch.float64)
    return RwkvState(drawn(*empty.memory.shape, seed=2), drawn(*empty.last.shape, seed=3))


def low_rank(maps: nn.Module, between: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Only the two matrices come from the layer; what stands between them is the test's own."""
    down, up = maps.parameters()
    return up @ between(down @ x)


def one_token(mixer: Rwkv7, x: Tensor, last: Tensor, heads: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The output for `x` [d_model] and the new matrices, [value width, key width] each, one per head."""
    shifted = [x + (last - x) * shift for shift in mixer.shift.chunk(6)]
    r, k, v = (layer.weight @ x for layer, x in zip((mixer.receptance, mixer.key, mixer.value), shifted, strict=False))
    w = torch.exp(-0.606531 * torch.sigmoid(mixer.decay_offset + low_rank(mixer.decay, torch.tanh, shifted[3])))
    a = torch.sigmoid(mixer.rate_offset + low_rank(mixer.rate, torch.clone, shifted[4]))
    g = low_rank(mixer.gate, torch.sigmoid, shifted[5])
    kappa, k = k * mixer.removal_gain, k * (1 + (a - 1) * mixer.key_rate)
    outputs, matrices = [], []
    for head, matrix in enumerate(heads):
        at = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        unit = kappa[at] / kappa[at].norm()
        matrix = matrix @ torch.diag(w[at]) + matrix @ torch.outer(-unit, unit * a[at]) + torch.outer(v[at], k[at])
        mixed = matrix @ r[at]
        normal = (mixed - mixed.mean()) / (mixed.var(correction=0) + 64e-5).sqrt() * mixer.norm_gain[at]
        outputs.append(normal + (r[at] @ (k[at] * mixer.bonus[at])) * v[at])
        matrices.append(matrix)
    return mixer.output.weight @ (torch.cat(outputs) * g), matrices


def literal(mixer: Rwkv7, x: Tensor, state: RwkvState) -> tuple[Tensor, RwkvState]:
    """The whole layer, one row and one token after the other."""
    rows, memories = [], []
    for row in range(len(x)):
        heads, last, outputs = [memory.T for memory in state.memory[row]], state.last[row], []
        for token in x[row]:
            y, heads = one_token(mixer, token, last, heads)
            last = token
            outputs.append(y)
        rows.append(torch.stack(outputs))
        memories.append(torch.stack([matrix.T for matrix in heads]))
    return torch.stack(rows), RwkvState(torch.stack(memories), x[:, -1])


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def delta_inputs(tokens: int, log_decay: float | None = None, rate: float | None = None) -> delta.DeltaInputs:
    """Drawn inputs of the memory; decays and rates of the whole range, or all at one value."""
    shape = (BATCH, tokens, 3, HEAD_WIDTH)
    removal = F.normalize(drawn(*shape, seed=4), dim=-1)
    decays = rwkv7.FASTEST_DECAY * drawn(*shape, seed=5).mul(3).sigmoid()
    rates = drawn(*shape, seed=6).mul(3).sigmoid()
    return delta.DeltaInputs(
        query=drawn(*shape, seed=7),
        log_decay=decays if log_decay is None else torch.full_like(decays, log_decay),
        removal=removal,
        replacement=removal * (rates if rate is None else rate),
        key=drawn(*shape, seed=8),
        value=drawn(*shape, seed=9),
    )


def stepped(inputs: delta.DeltaInputs, memory: Tensor) -> tuple[Tensor, Tensor]:
    """`scan` by single steps."""
    outputs = []
    for token in range(inputs.query.shape[1]):
        one = delta.DeltaInputs(*(getattr(inputs, name)[:, [token]] for name in delta.DeltaInputs.__slots__))
        output, memory = delta.step(one, memory)
        outputs.append(output)
    return torch.cat(outputs, 1), memory


@pytest.mark.parametrize("tokens", LENGTHS)
def test_all_at_once_equals_the_recurrence(tokens: int) -> None:
    mixer, x = drawn_mixer(), drawn(BATCH, tokens, D_MODEL)
    assert_same(mixed(mixer, x), literal(mixer, x, mixer.initial_state(BATCH, x.device, x.dtype))[0])


@pytest.mark.parametrize("tokens", LENGTHS)
def test_a_state_is_resumed_and_learns_what_the_recurrence_learns(tokens: int) -> None:
    mixer, x = drawn_mixer(), drawn(BATCH, tokens, D_MODEL)
    state = drawn_state(mixer)
    expected, after = literal(mixer, x, state)
    with torch.no_grad():
        assert_same(mixer.extend(x, state, [7, 9]), expected)
    assert_same(state.memory, after.memory)
    assert_same(state.last, after.last)


@pytest.mark.parametrize("cut", [1, 17, delta.CHUNK, delta.CHUNK + 3])
def test_two_parts_equal_the_whole(cut: int) -> None:
    mixer, x = drawn_mixer(), drawn(BATCH, 2 * delta.CHUNK + 9, D_MODEL)
    state = mixer.initial_state(BATCH, x.device, x.dtype)
    with torch.no_grad():
        found = torch.cat((mixer.extend(x[:, :cut], state, [0, 0]), mixer.extend(x[:, cut:], state, [cut, cut])), 1)
        assert_same(found, mixed(mixer, x))


def test_the_stretches_of_a_long_sequence_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer, x = drawn_mixer(), drawn(BATCH, 3 * delta.CHUNK + 5, D_MODEL)
    whole = mixed(mixer, x)
    monkeypatch.setattr(rwkv7, "STRETCH", 1)
    assert_same(mixed(mixer, x), whole)


@pytest.mark.parametrize("tokens", [5, delta.CHUNK + 4])
def test_gradients_are_those_of_the_recurrence(tokens: int) -> None:
    mixer, x = drawn_mixer(), drawn(BATCH, tokens, D_MODEL).requires_grad_()
    empty = mixer.initial_state(BATCH, x.device, x.dtype)
    wanted, weights = [x, *mixer.parameters()], drawn(BATCH, tokens, D_MODEL, seed=10)
    expected = torch.autograd.grad((literal(mixer, x, empty)[0] * weights).sum(), wanted)
    for found, right in zip(torch.autograd.grad((mixed(mixer, x) * weights).sum(), wanted), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-8)


def test_gradients_pass_through_the_first_memory_and_the_last() -> None:
    inputs, memory = delta_inputs(delta.CHUNK + 4), drawn(BATCH, 3, HEAD_WIDTH, HEAD_WIDTH, seed=2).requires_grad_()
    found, expected = (torch.autograd.grad(way(inputs, memory)[1].square().sum(), memory)[0] for way in (delta.scan, stepped))
    assert_same(found, expected)


@pytest.mark.parametrize("tokens", [3, 2 * delta.CHUNK, 2 * delta.CHUNK + 1])
def test_all_inputs_have_the_gradients_of_the_recurrence(tokens: int) -> None:
    """Through the outputs and through the last memory, from which the next stretch goes on."""
    inputs, memory = delta_inputs(tokens), drawn(BATCH, 3, HEAD_WIDTH, HEAD_WIDTH, seed=2)
    wanted = [*(getattr(inputs, name) for name in delta.DeltaInputs.__slots__), memory]
    for x in wanted:
        x.requires_grad_()
    found, expected = (_gradients(way(inputs, memory), wanted) for way in (delta.scan, stepped))
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-8, atol=1e-8)


def _gradients(results: tuple[Tensor, Tensor], wanted: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum(((x * drawn(*x.shape, seed=11)).sum() for x in results), torch.zeros(())), wanted)


@pytest.mark.parametrize("log_decay", [0.0, -1e-6, rwkv7.FASTEST_DECAY])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_extremes_of_decay_and_rate(log_decay: float, rate: float) -> None:
    """Nothing forgotten and all that can be; nothing unlearnt and everything."""
    inputs, memory = delta_inputs(2 * delta.CHUNK + 1, log_decay, rate), drawn(BATCH, 3, HEAD_WIDTH, HEAD_WIDTH, seed=2)
    for found, expected in zip(delta.scan(inputs, memory), stepped(inputs, memory), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("log_decay", [0.0, rwkv7.FASTEST_DECAY])
def test_float32_keeps_its_digits_at_the_extremes(log_decay: float) -> None:
    exact, memory = delta_inputs(4 * delta.CHUNK, log_decay), drawn(BATCH, 3, HEAD_WIDTH, HEAD_WIDTH, seed=2)
    single = delta.DeltaInputs(*(getattr(exact, name).float() for name in delta.DeltaInputs.__slots__))
    for found, expected in zip(delta.scan(single, memory.float()), stepped(exact, memory), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_one_key_over_and_over_holds_its_last_value() -> None:
    """With rate one, no decay and the same key always, the memory is a register: the worst case of the triangular system."""
    tokens = 3 * delta.CHUNK
    key = F.normalize(drawn(HEAD_WIDTH, seed=4), dim=-1).expand(1, tokens, 1, HEAD_WIDTH).float()
    value = drawn(1, tokens, 1, HEAD_WIDTH, seed=9).float()
    register = delta.DeltaInputs(query=key, log_decay=torch.zeros_like(key), removal=key, replacement=key, key=key, value=value)
    outputs, _ = delta.scan(register, torch.zeros(1, 1, HEAD_WIDTH, HEAD_WIDTH))
    torch.testing.assert_close(outputs, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [-30.0, 0.0, 30.0])
def test_finite_and_close_under_autocast(offset: float) -> None:
    mixer = drawn_mixer().float()
    with torch.no_grad():
        mixer.decay_offset.add_(offset)
    x = drawn(BATCH, 5 * delta.CHUNK + 3, D_MODEL).float().requires_grad_()
    exact = mixed(mixer, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = mixed(mixer, x)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() < 0.03 * exact.norm()
    wanted = [x, *mixer.parameters()]
    for gradient in torch.autograd.grad(found.float().square().sum(), wanted):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("tokens", [1, delta.CHUNK + 1])
def test_a_sequence_of_zeros_has_finite_gradients(tokens: int) -> None:
    mixer, x = drawn_mixer(), torch.zeros(BATCH, tokens, D_MODEL, dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad(mixed(mixer, x).sum(), [x, *mixer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_memory_is_wider_than_narrow_weights() -> None:
    state = drawn_mixer().bfloat16().initial_state(1, torch.device("cpu"), torch.bfloat16)
    assert state.memory.dtype == torch.float32
    assert state.last.dtype == torch.bfloat16


def test_narrow_weights_decode() -> None:
    mixer, x = drawn_mixer().bfloat16(), drawn(BATCH, 9, D_MODEL).bfloat16()
    state = mixer.initial_state(BATCH, x.device, x.dtype)
    with torch.no_grad():
        found = torch.cat((mixer.extend(x[:, :8], state, [0, 0]), mixer.extend(x[:, 8:], state, [8, 8])), 1)
    assert (found - mixed(mixer, x)).norm() < 0.05 * mixed(mixer, x).norm()


@pytest.mark.parametrize("d_model", [64, 192])
@pytest.mark.parametrize("spec", [RwkvSpec(), RwkvSpec(head_width=16, rank=3, gate_rank=7)])
def test_sizes_are_those_of_the_formulas(spec: RwkvSpec, d_model: int) -> None:
    mixer = drawn_mixer(spec, d_model)
    state = mixer.initial_state(1, torch.device("cpu"), torch.float64)
    assert sum(parameter.numel() for parameter in mixer.parameters()) == spec.parameters(d_model)
    for tokens in (1, 1000):
        assert state.memory.numel() + state.last.numel() == spec.state_elements(d_model, tokens)


def test_a_built_model_starts_with_slow_and_fast_channels() -> None:
    """`build_model` draws matrices anew; what a channel starts as must survive it."""
    model = build_model(ArchSpec(d_model=64, n_layers=1, pattern=(RwkvSpec(),)), 50)
    mixer = next(module for module in model.modules() if isinstance(module, Rwkv7))
    decays = torch.exp(rwkv7.FASTEST_DECAY * mixer.decay_offset.sigmoid())
    assert decays.min() < 0.7 and decays.max() > 0.995
    assert (mixer.shift >= 0).all() and (mixer.shift <= 1).all()
