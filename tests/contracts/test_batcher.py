"""The contract of the batcher: whoever shares the batch, every sequence gets what it gets alone."""

from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codenas.decode import Batcher, Event, Failed, Finished, Produced, PromptScored, SamplingParams, Sequence, generate
from codenas.model import DecodingState, LanguageModel
from tests.decode.models import CONTEXT, sequence, tiny_model

MODELS = {"global": tiny_model(1), "window": tiny_model(2, window=8)}
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=60)

asked_for = st.builds(
    lambda prompt, length, temperature, seed: sequence(prompt, max_tokens=length, temperature=temperature, seed=seed),
    st.text(alphabet="abc(é", max_size=60),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.0, 0.8]),
    st.integers(0, 9),
)


def run(batcher: Batcher, limit: int = 500) -> list[Event]:
    """Step until nothing is left."""
    events: list[Event] = []
    for _ in range(limit):
        if batcher.idle:
            return events
        events += batcher.step()
    raise AssertionError(f"not idle after {limit} steps")


def tokens_of(events: list[Event]) -> dict[int, list[int]]:
    """The tokens of each sequence, in order."""
    tokens: dict[int, list[int]] = defaultdict(list)
    for event in events:
        if isinstance(event, Produced):
            tokens[event.id].append(event.token)
    return tokens


@pytest.mark.parametrize("kind", MODELS)
@given(arrivals=st.lists(st.tuples(asked_for, st.integers(0, 4)), min_size=1, max_size=7), capacity=st.integers(1, 4))
@DETERMINISTIC
def test_every_sequence_gets_what_it_gets_alone(kind: str, arrivals: list[tuple[Sequence, int]], capacity: int) -> None:
    model, events, ids = MODELS[kind], [], []
    batcher = Batcher(model, capacity)
    for asked, steps in arrivals:
        ids.append(batcher.submit(asked))
        for _ in range(steps):
            events += batcher.step()
            assert batcher.active <= capacity
    events += run(batcher)
    tokens = tokens_of(events)
    assert [tokens[id] for id in ids] == [list(generate(model, asked)) for asked, _ in arrivals]
    assert sorted(event.id for event in events if isinstance(event, Finished)) == ids


@given(
    asked=st.lists(asked_for, min_size=2, max_size=6), cancelled=st.integers(0, 5), before=st.integers(0, 12), capacity=st.integers(1, 3)
)
@DETERMINISTIC
def test_cancelling_one_disturbs_no_other(asked: list[Sequence], cancelled: int, before: int, capacity: int) -> None:
    model, events = MODELS["global"], []
    batcher = Batcher(model, capacity)
    ids = [batcher.submit(one) for one in asked]
    gone = ids[cancelled % len(ids)]
    for _ in range(before):
        events += batcher.step()
    batcher.cancel(gone)
    later = run(batcher)
    assert not any(event.id == gone for event in later)
    tokens = tokens_of(events + later)
    assert all(tokens[id] == list(generate(model, one)) for id, one in zip(ids, asked, strict=True) if id != gone)


def test_cancelling_frees_the_row_at_once() -> None:
    batcher = Batcher(MODELS["global"], capacity=1)
    first, second = (batcher.submit(sequence(prompt, max_tokens=20)) for prompt in ("a", "b"))
    batcher.step()
    assert (batcher.active, batcher.waiting) == (1, 1)
    batcher.cancel(first)
    assert (batcher.active, batcher.waiting) == (0, 1)
    assert {event.id for event in batcher.step()} == {second}
    batcher.cancel(second)
    batcher.cancel(second)
    assert batcher.idle and batcher.step() == []


def test_a_step_decodes_only_the_active_rows() -> None:
    class Counting(LanguageModel):
        rows: list[int]

        def extend(self, tokens: Tensor, state: DecodingState) -> Tensor:
            self.rows.append(tokens.shape[0])
            return super().extend(tokens, state)

    model = tiny_model()
    model.__class__ = Counting
    assert isinstance(model, Counting)
    model.rows = []
    batcher = Batcher(model, capacity=8)
    for length in (2, 4):
        batcher.submit(sequence("ab", max_tokens=length))
    run(batcher)
    # prompt of the first; its second token, prompt of the second; then the second alone
    assert model.rows == [1, 1, 1, 1, 1, 1]


def test_one_step_reads_one_prompt() -> None:
    batcher = Batcher(MODELS["global"], capacity=4)
    ids = [batcher.submit(sequence("ab", max_tokens=9)) for _ in range(3)]
    firsts = [[event.id for event in batcher.step()] for _ in range(3)]
    assert [step[-1] for step in firsts] == ids
    assert [len(step) for step in firsts] == [1, 2, 3]


class Fragile(LanguageModel):
    """Scores of a sequence whose last token is `poison` are no numbers; with `explode` the whole call fails."""

    poison = -1
    explode = False

    def extend(self, tokens: Tensor, state: DecodingState) -> Tensor:
        if self.explode:
            raise RuntimeError("out of memory")
        scores = super().extend(tokens, state)
        return torch.where((tokens[:, -1:] == self.poison)[:, :, None], torch.nan, scores)


def fragile_model() -> Fragile:
    model = tiny_model(1)
    model.__class__ = Fragile
    assert isinstance(model, Fragile)
    return model


def test_a_sequence_that_fails_does_not_fail_its_batch() -> None:
    model, healthy = fragile_model(), sequence("abc", max_tokens=10)
    expected = list(generate(model, healthy))
    poisoned = sequence("ab(", max_tokens=10)
    model.poison = poisoned.prompt[-1]
    assert model.poison not in (*healthy.prompt, *expected)
    batcher = Batcher(model, capacity=2)
    ids = [batcher.submit(one) for one in (healthy, poisoned, healthy)]
    events = run(batcher)
    assert [event for event in events if isinstance(event, Failed)] == [Failed(ids[1], "the model's logits are not finite")]
    assert [tokens_of(events)[id] for id in ids] == [expected, [], expected]


def test_values_of_a_failed_sequence_do_not_affect_others() -> None:
    model, asked = tiny_model(1), sequence("abc", max_tokens=6)
    batcher = Batcher(model, capacity=2)
    for layer in batcher._state.layers:
        layer.keys[:] = torch.nan  # type: ignore[attr-defined]
        layer.values[:] = torch.nan  # type: ignore[attr-defined]
    id = batcher.submit(asked)
    assert tokens_of(run(batcher))[id] == list(generate(model, asked))


def test_a_step_that_fails_ends_its_rows_and_nothing_else() -> None:
    model, asked = fragile_model(), sequence("abc", max_tokens=6)
    batcher = Batcher(model, capacity=2)
    lost = batcher.submit(asked)
    batcher.step()
    waiting = batcher.submit(asked)
    model.explode = True
    assert batcher.step() == [Failed(lost, "RuntimeError: out of memory"), Failed(waiting, "RuntimeError: out of memory")]
    assert batcher.idle
    model.explode = False
    again = batcher.submit(asked)
    assert tokens_of(run(batcher))[again] == list(generate(model, asked))


def test_a_full_context_ends_with_length() -> None:
    batcher = Batcher(MODELS["window"], capacity=2)
    id = batcher.submit(sequence("a" * (CONTEXT - 3), max_tokens=99))
    events = run(batcher)
    assert events[-1] == Finished(id, "length")
    assert len(tokens_of(events)[id]) == CONTEXT // 4


@pytest.mark.parametrize("prompt", [(), (-1,), (10, 10**9), (10,) * CONTEXT])
def test_what_cannot_be_decoded_is_refused_at_the_door(prompt: tuple[int, ...]) -> None:
    batcher = Batcher(MODELS["global"], capacity=1)
    with pytest.raises(ValueError, match="tokens"):
        batcher.submit(Sequence(prompt, SamplingParams(max_tokens=1), frozenset()))
    assert batcher.idle


def test_scores_of_prompt_and_answer_are_the_models() -> None:
    model, asked = MODELS["global"], sequence("abc", max_tokens=2, logprobs=3, prompt_logprobs=True)
    batcher = Batcher(model, capacity=2)
    batcher.submit(asked)
    events = run(batcher)
    scored = next(event for event in events if isinstance(event, PromptScored))
    produced = [event for event in events if isinstance(event, Produced)]
    tokens = [*asked.prompt, *(event.token for event in produced)]
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([tokens]))[0], -1)
    ours = [*scored.logprobs, *(event.logprobs for event in produced)]
    assert ours[0] is None
    for position, scores in enumerate(ours[1:]):
        assert scores is not None
        assert scores.chosen == pytest.approx(float(logprobs[position, tokens[position + 1]]), abs=1e-4)
        assert list(scores.best.values()) == pytest.approx(logprobs[position].topk(3).values.tolist(), abs=1e-4)


def test_scoring_alone_produces_nothing() -> None:
    batcher = Batcher(MODELS["global"], capacity=1)
    scoring, nothing = batcher.submit(sequence("abc", max_tokens=0, prompt_logprobs=True)), batcher.submit(sequence("abc", max_tokens=0))
    events = run(batcher)
    assert [(type(event), event.id) for event in events] == [(PromptScored, scoring), (Finished, scoring), (Finished, nothing)]
