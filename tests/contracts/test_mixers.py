"""The contract of every mixer: nothing leaks from the future, and however the tokens arrive, the scores are the same.

A new mixer is tested with its defaults; a line or two in `MIXERS` of `tests/contracts/members.py`, of sizes that fit a tiny model, test
it with more. Scores are
compared in float64, so that "the same" can be strict. Where there is a GPU, every model keeps the contract there too.
"""

from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codenas.arch import ArchSpec, MixerSpec
from codenas.arch.part import Position
from codenas.model import DecodingState, LanguageModel, build_model, count_parameters, norms, uninitialized_model
from codenas.model.mixers import attention as attention_mixer
from codenas.model.mixers import build_mixer, rwkv7
from tests.contracts.members import ARCHS, LENGTH, MIXERS, WINDOW, attention
from tests.fakes import drawn_model, tiny_arch

LONG, VOCAB_SIZE = 133, 50
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=15)


DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
MODELS: dict[str, LanguageModel] = {
    name if device == "cpu" else f"{name} on {device}": drawn_model(arch, VOCAB_SIZE).double().to(device)
    for device in DEVICES
    for name, arch in ARCHS.items()
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return MODELS[request.param]


def drawn_tokens(rows: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB_SIZE, (rows, length), generator=torch.Generator().manual_seed(seed))


def extend(model: LanguageModel, tokens: Tensor, state: DecodingState) -> Tensor:
    with torch.inference_mode():
        return model.extend(tokens.to(model.device), state).cpu()


def scores(model: LanguageModel, tokens: Tensor) -> Tensor:
    """The scores that every other way must give."""
    with torch.inference_mode():
        return model(tokens.to(model.device)).cpu()


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-10)


def gradients(model: LanguageModel, length: int = LENGTH) -> dict[str, Tensor]:
    """The gradient of every weight, by name."""
    parameters = dict(model.named_parameters())
    loss = model(drawn_tokens(2, length).to(model.device)).logsumexp(-1).sum()
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def prefilled(model: LanguageModel, sequences: list[Tensor]) -> DecodingState:
    """A batch whose rows have had sequences of different lengths, each read on its own."""
    state = model.initial_state(len(sequences))
    for row, sequence in enumerate(sequences):
        view = state.rows(row, row + 1)
        if len(sequence):
            extend(model, sequence[None], view)
        state.lengths[row] = view.lengths[0]
    return state


def numbers_in(state: Any) -> int:
    """The numbers that all tensors of a state hold, those of the states in it included."""
    if isinstance(state, Tensor):
        return state.numel()
    return sum(numbers_in(getattr(state, field.name)) for field in fields(state)) if is_dataclass(state) else 0


def test_what_comes_later_changes_nothing_before(model: LanguageModel) -> None:
    tokens = drawn_tokens(1)
    known = scores(model, tokens)
    for changed in range(LENGTH):
        other = tokens.clone()
        other[0, changed] = (tokens[0, changed] + 1) % VOCAB_SIZE
        found = scores(model, other)
        assert torch.equal(found[:, :changed], known[:, :changed])
        assert not torch.allclose(found[:, changed], known[:, changed])


def test_a_token_at_a_time_equals_all_at_once(model: LanguageModel) -> None:
    tokens, state = drawn_tokens(2), model.initial_state(2)
    found = torch.cat([extend(model, tokens[:, [t]], state) for t in range(LENGTH)], 1)
    assert_same(found, scores(model, tokens))
    assert state.lengths == [LENGTH, LENGTH]


@pytest.mark.parametrize("name", MODELS)
@given(cuts=st.sets(st.integers(1, LENGTH - 1)))
@DETERMINISTIC
def test_chunks_of_any_size_equal_all_at_once(name: str, cuts: set[int]) -> None:
    model, tokens = MODELS[name], drawn_tokens(1)
    state = model.initial_state(1)
    found = [extend(model, chunk, state) for chunk in tokens.tensor_split(sorted(cuts), 1)]
    assert_same(torch.cat(found, 1), scores(model, tokens))


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_row_of_a_ragged_batch_equals_the_row_alone(model: LanguageModel, chunk: int) -> None:
    lengths = [0, 1, WINDOW - 1, WINDOW + 3, LENGTH - 6]
    tokens = drawn_tokens(len(lengths))
    state = prefilled(model, [tokens[row, :length] for row, length in enumerate(lengths)])
    for start in range(0, 6, chunk):
        new = torch.stack([tokens[row, length + start : length + start + chunk] for row, length in enumerate(lengths)])
        found = extend(model, new, state)
        for row, length in enumerate(lengths):
            alone = scores(model, tokens[[row], : length + start + chunk])
            assert_same(found[[row]], alone[:, -chunk:])


def test_a_sequence_that_is_moved_continues_as_before(model: LanguageModel) -> None:
    tokens = drawn_tokens(3)
    state = prefilled(model, [tokens[0, :11], tokens[1, :3], tokens[2, :7]])
    state.move(0, 2)
    assert state.lengths == [11, 3, 11]
    found = extend(model, torch.stack((tokens[0, 11:14], tokens[1, 3:6], tokens[0, 11:14])), state)
    assert_same(found[0], found[2])
    assert_same(found[[2]], scores(model, tokens[[0], :14])[:, -3:])
    assert_same(found[[1]], scores(model, tokens[[1], :6])[:, -3:])


def test_a_view_of_some_rows_learns_for_the_whole_batch(model: LanguageModel) -> None:
    tokens = drawn_tokens(3)
    state = prefilled(model, [tokens[0, :2], tokens[1, :8], tokens[2, :5]])
    view = state.rows(1, 3)
    extend(model, torch.stack((tokens[1, 8:10], tokens[2, 5:7])), view)
    state.lengths[1:] = view.lengths
    found = extend(model, torch.stack((tokens[0, 2:3], tokens[1, 10:11], tokens[2, 7:8])), state)
    for row, length in enumerate([3, 11, 8]):
        assert_same(found[[row]], scores(model, tokens[[row], :length])[:, -1:])


def test_a_row_that_is_reset_has_forgotten_everything(model: LanguageModel) -> None:
    tokens = drawn_tokens(2)
    state = prefilled(model, [tokens[0, :9], tokens[1, :9]])
    state.reset(1)
    assert state.lengths == [9, 0]
    found = extend(model, torch.stack((tokens[0, 9:12], tokens[0, :3])), state)
    assert_same(found[[1]], scores(model, tokens[[0], :3]))
    assert_same(found[[0]], scores(model, tokens[[0], :12])[:, -3:])


def test_attention_is_the_same_where_it_is_not_read_in_blocks(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long sequences, and all on a GPU, take torch's own way."""
    tokens = drawn_tokens(2)
    in_blocks = scores(model, tokens)
    monkeypatch.setattr(attention_mixer, "LONGEST_IN_BLOCKS", 0)
    assert_same(scores(model, tokens), in_blocks)


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
def test_everything_is_made_where_the_weights_are(arch: ArchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without numbers: as on a GPU, what meets a tensor of another device is an error."""
    for module in (norms, rwkv7):
        monkeypatch.setattr(module, "matrix_dtype", lambda x: x.dtype)  # autocast knows no such device
    model, tokens = uninitialized_model(arch, VOCAB_SIZE).to("meta"), torch.zeros(2, 3, dtype=torch.long, device="meta")
    model(tokens).sum().backward()
    for lengths in ([4, 4], [3, 5]):
        state = model.initial_state(2)
        state.lengths[:] = lengths
        with torch.inference_mode():
            found = [model.extend(tokens, state), model.extend(tokens[:, :1], state), model.extend(tokens[:1, :1], state.rows(0, 1))]
        state.move(0, 1)
        state.reset(0)
        assert {scores.device.type for scores in found} == {"meta"}


def test_no_gradient_is_broken(model: LanguageModel) -> None:
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_no_gradient_is_broken_in_bfloat16(mixer: MixerSpec) -> None:
    model = drawn_model(tiny_arch(mixer, context_len=LONG), VOCAB_SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(model, LONG)
    assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
@pytest.mark.parametrize("first", [1, 63, 64, 65, LONG - 1])
def test_long_sequences_are_read_alike_in_chunks_and_by_token(mixer: MixerSpec, first: int) -> None:
    """Mixers that scan do so in chunks of some dozen tokens; none of these lengths is good for all."""
    model = drawn_model(tiny_arch(mixer, context_len=LONG, n_layers=1), VOCAB_SIZE).double()
    tokens, state = drawn_tokens(2, LONG), model.initial_state(2)
    found = [extend(model, tokens[:, :first], state)]
    found += [extend(model, tokens[:, [t]], state) for t in range(first, LONG)]
    assert_same(torch.cat(found, 1), scores(model, tokens))


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
@pytest.mark.parametrize("d_model", [16, 32])
def test_a_mixer_has_the_size_that_its_specification_says(mixer: MixerSpec, d_model: int) -> None:
    arch = tiny_arch(mixer, d_model=d_model)
    built = build_mixer(mixer, arch)
    assert count_parameters(built) == mixer.parameters(d_model)
    state = built.initial_state(3, torch.device("cpu"), torch.float32)
    assert numbers_in(state) == 3 * mixer.state_elements(d_model, arch.context_len)


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
@pytest.mark.parametrize("position", get_args(Position))
def test_what_a_model_holds_beside_its_weights_grows_no_faster_than_its_context(mixer: MixerSpec, position: Position) -> None:
    """The square of a context of 1,024, for each of 16 heads, would be 67 MB a layer."""

    def held(context_len: int) -> int:
        model = LanguageModel(tiny_arch(mixer, position=position, context_len=context_len), VOCAB_SIZE)
        return sum(buffer.numel() for buffer in model.buffers())

    assert held(2 * LONG) <= 2 * held(LONG)


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    """No module may keep weights that torch drew for it from the global generator."""
    for arch in ARCHS.values():
        torch.manual_seed(1)
        one = build_model(arch, VOCAB_SIZE, seed=3).state_dict()
        torch.manual_seed(2)
        other = build_model(arch, VOCAB_SIZE, seed=3).state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("window of one")])
def test_every_weight_learns(name: str) -> None:
    """But where the window is one: a token that sees only itself compares nothing."""
    assert all(gradient.any() for gradient in gradients(MODELS[name]).values())


def test_too_many_tokens_are_refused_and_break_nothing(model: LanguageModel) -> None:
    room = model.arch.context_len
    tokens, state = drawn_tokens(2, room), model.initial_state(2)
    extend(model, tokens[:, : room - 1], state)
    with pytest.raises(ValueError, match=f"{room + 1} tokens do not fit the context of {room}"):
        extend(model, tokens[:, :2], state)
    with pytest.raises(ValueError, match=f"{room + 1} tokens do not fit the context of {room}"):
        scores(model, drawn_tokens(1, room + 1))
    found = extend(model, tokens[:, -1:], state)
    assert_same(found, scores(model, tokens)[:, -1:])


@pytest.mark.parametrize("position", get_args(Position))
def test_a_window_sees_what_is_inside_it_and_nothing_else(position: Position) -> None:
    """One layer sees `window` positions, itself included; two layers see `2 * window - 1`."""
    model = drawn_model(tiny_arch(attention(2, 1, WINDOW), position=position), VOCAB_SIZE).double()
    tokens = drawn_tokens(1)
    seen = len(model.blocks) * (WINDOW - 1)
    for changed in range(LENGTH):
        other = tokens.clone()
        other[0, changed] = (tokens[0, changed] + 1) % VOCAB_SIZE
        differs = (scores(model, other) != scores(model, tokens)).any(-1)[0].nonzero().flatten()
        assert differs.min() == changed
        assert differs.max() == min(changed + seen, LENGTH - 1)
