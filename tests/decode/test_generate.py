"""One sequence through the engine, and how requests are fitted to the context."""

import pytest
import torch

from codenas.decode import Engine, SamplingParams, Sequence, TorchBackend, complete, fit_infill_to_context, fit_to_context, generate
from tests.decode.models import CONTEXT, VOCABULARY, sequence, tiny_model


@pytest.mark.parametrize("window", [None, 8])
def test_greedy_tokens_are_those_of_the_whole_forward_pass(window: int | None) -> None:
    model, fitted = tiny_model(window=window), sequence("def add(", max_tokens=30)
    asked = Sequence(fitted.prompt, fitted.params, frozenset())
    tokens = list(asked.prompt)
    with torch.no_grad():
        while len(tokens) < len(asked.prompt) + 30:
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert list(generate(Engine(TorchBackend(model)), asked)) == tokens[len(asked.prompt) :]


def test_an_end_token_ends_and_is_not_part_of_the_text() -> None:
    model, asked = tiny_model(), sequence("x = ", max_tokens=20)
    tokens = list(generate(Engine(TorchBackend(model)), asked))
    end = next(token for token in tokens if token != tokens[0])
    ended = Sequence(asked.prompt, asked.params, frozenset({end}))
    assert list(generate(Engine(TorchBackend(model)), ended)) == tokens[: tokens.index(end)]


def test_the_same_seed_gives_the_same_tokens() -> None:
    engine = Engine(TorchBackend(tiny_model()))
    runs = [list(generate(engine, sequence("import ", max_tokens=20, temperature=1.0, seed=seed))) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_nothing_is_generated_for_no_tokens() -> None:
    assert list(generate(Engine(TorchBackend(tiny_model())), sequence("x", max_tokens=0))) == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT} \\+ 1 tokens do not fit {CONTEXT}"):
        list(generate(Engine(TorchBackend(tiny_model())), Sequence((10,) * CONTEXT, SamplingParams(max_tokens=1), frozenset())))


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "kept", "answer"),
    [
        (5, 10, 5, 10),
        (5, 4096, 5, 43),  # the answer is cut to the room there is
        (46, 1, 46, 1),
        (46, 10, 38, 10),  # a long prompt makes room for the answer
        (500, 4096, 36, 12),  # but for no more than a quarter of the context
        (48, 0, 48, 0),
        (0, 10, 1, 10),
    ],
)
def test_prompt_and_answer_share_the_context(prompt: int, max_tokens: int, kept: int, answer: int) -> None:
    ids = [10 + index % 90 for index in range(prompt)]
    fitted = fit_to_context(ids, SamplingParams(max_tokens=max_tokens), VOCABULARY, CONTEXT)
    assert len(fitted.prompt) == kept
    assert fitted.params.max_tokens == answer
    assert list(fitted.prompt[-prompt:]) == ids[-kept:] if prompt else fitted.prompt == (VOCABULARY.specials["<|endoftext|>"],)


@pytest.mark.parametrize("context_len", [2, 3, 5])
def test_the_smallest_contexts_leave_room_for_one_token(context_len: int) -> None:
    fitted = fit_to_context([10] * 9, SamplingParams(), VOCABULARY, context_len)
    assert (len(fitted.prompt), fitted.params.max_tokens) == (context_len - 1, 1)


@pytest.mark.parametrize(
    ("prefix", "suffix", "max_tokens", "kept", "answer"),
    [
        (5, 4, 10, (5, 4), 10),
        (5, 4, 4096, (5, 4), 36),
        (100, 100, 4096, (25, 8), 12),  # three quarters of the room before the gap, one behind it
        (100, 3, 4096, (28, 3), 14),  # what one side leaves is the other's, but for less than a stride
        (2, 100, 4096, (2, 31), 12),
        (0, 100, 1, (0, 44), 1),
        (100, 0, 0, (45, 0), 0),
    ],
)
def test_prefix_suffix_and_answer_share_the_context(prefix: int, suffix: int, max_tokens: int, kept: tuple[int, int], answer: int) -> None:
    before, after = [10 + index % 90 for index in range(prefix)], [20 + index % 70 for index in range(suffix)]
    fitted = fit_infill_to_context(before, after, SamplingParams(max_tokens=max_tokens), VOCABULARY, CONTEXT)
    names = VOCABULARY.specials
    near = [names["<fim_prefix>"], *before[prefix - kept[0] :], names["<fim_suffix>"], *after[: kept[1]], names["<fim_middle>"]]
    assert (list(fitted.prompt), fitted.params.max_tokens) == (near, answer)
    assert fitted.stop_token_ids == frozenset(names.values())


def test_a_long_prefix_that_grows_begins_at_the_same_token_for_a_while() -> None:
    starts = []
    for length in range(200, 220):
        fitted = fit_to_context([10 + index for index in range(length)], SamplingParams(max_tokens=1), VOCABULARY, CONTEXT)
        starts.append(fitted.prompt[0])
        assert len(fitted.prompt) > (CONTEXT - 1) * 7 // 8
    assert len(set(starts)) <= 5


def test_with_the_suffix_first_a_prefix_that_grows_only_appends() -> None:
    short, long = (
        fit_infill_to_context(VOCABULARY.encode(prefix), VOCABULARY.encode(") + c"), SamplingParams(), VOCABULARY, CONTEXT, True).prompt
        for prefix in ("x = f(a", "x = f(a, b")
    )
    assert long[: len(short)] == short


@pytest.mark.parametrize("context_len", [2, 3])
def test_a_context_without_room_for_a_gap_is_refused(context_len: int) -> None:
    with pytest.raises(ValueError, match=f"a context of {context_len} tokens has no room for the 3 tokens that mark a gap"):
        fit_infill_to_context([10], [11], SamplingParams(), VOCABULARY, context_len)
    assert len(fit_infill_to_context([10], [11], SamplingParams(), VOCABULARY, 4).prompt) == 3


def test_complete_gives_text_and_reason() -> None:
    engine = Engine(TorchBackend(tiny_model()))
    params = SamplingParams(max_tokens=12, temperature=0, logit_bias=dict.fromkeys(VOCABULARY.specials.values(), -100.0))
    text, reason = complete(engine, VOCABULARY, "def ", params)
    asked = fit_to_context(VOCABULARY.encode("def "), params, VOCABULARY, CONTEXT)
    assert text == VOCABULARY.decode(list(generate(engine, asked))).decode(errors="replace")
    assert reason == "length"
    stop = text[5:7]
    cut, why = complete(engine, VOCABULARY, "def ", params.model_copy(update={"stop": (stop,)}))
    assert (cut, why) == (text[: text.index(stop)], "stop")
