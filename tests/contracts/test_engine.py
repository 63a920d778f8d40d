"""The contract of the decoding engine over all backends: however sequences are decoded, each gets the tokens of the slow reference."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codenas.decode import Engine, EngineSettings, Event, Failed, Finished, Produced, PromptScored, SamplingParams, Sequence, TorchBackend
from codenas.decode.backend import Backend, ForwardBatch, Logits
from codenas.decode.native.backend import NativeBackend, NativeOptions
from codenas.decode.native.library import available_targets
from codenas.decode.native.structures import supports
from codenas.decode.reference import ReferenceBackend, reference_tokens
from codenas.model import DecodingState, LanguageModel
from tests.decode.models import CONTEXT, PATTERNS, VOCABULARY, model_of, sequence

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=12)


def native(model: LanguageModel, slots: int) -> Backend:
    tensors = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return NativeBackend(model.arch, model.vocab_size, tensors, NativeOptions(slots))


BACKENDS: dict[str, Callable[[LanguageModel, int], Backend]] = {"reference": ReferenceBackend, "torch": TorchBackend, "native": native}
MODELS = {**{name: model_of(name) for name in PATTERNS}, "alibi": model_of("window", "alibi"), "absolute": model_of("hybrid", "absolute")}
CASES = [
    ("reference", "attention"),
    *(("torch", name) for name in MODELS),
    *(("native", name) for name, model in MODELS.items() if available_targets() and supports(model.arch)),
]
MODEL = MODELS["attention"]

# Prompts that begin alike and repeat themselves: there is something to share and to draft.
texts = st.builds(
    lambda part, times, end: part * times + end,
    st.sampled_from(["ab(", "abc", "é x", "q"]),
    st.integers(0, 12),
    st.text("abé(", max_size=9),
)
FEW = dict.fromkeys(VOCABULARY.encode("ab("), 100.0)  # a bias: only these are generated, so what follows was often there before
requests = st.builds(
    lambda prompt, length, temperature, seed, top_p, bias: sequence(
        prompt, max_tokens=length, temperature=temperature, seed=seed, top_p=top_p, logit_bias=bias
    ),
    texts,
    st.integers(0, 14),
    st.sampled_from([0.0, 0.0, 0.8]),
    st.integers(0, 9),
    st.sampled_from([1.0, 0.9]),
    st.sampled_from([{}, FEW]),
)
schedules = st.lists(st.tuples(requests, st.integers(0, 4)), min_size=1, max_size=7)
engine_settings = st.builds(
    EngineSettings,
    step_tokens=st.sampled_from([4, 7, 100]),
    cache_bytes=st.sampled_from([0, 3_000, 10**7]),
    block_tokens=st.sampled_from([4, 8]),
    snapshot_tokens=st.sampled_from([4, 16]),
    max_draft=st.sampled_from([0, 5]),
)


def run(engine: Engine, limit: int = 2_000) -> list[Event]:
    """Step until nothing is left."""
    events: list[Event] = []
    for _ in range(limit):
        if engine.idle:
            return events
        events += engine.step()
    raise AssertionError(f"not idle after {limit} steps")


def tokens_of(events: list[Event]) -> dict[int, list[int]]:
    """The tokens of each sequence, in order."""
    tokens: dict[int, list[int]] = defaultdict(list)
    for event in events:
        if isinstance(event, Produced):
            tokens[event.id] += event.tokens
    return tokens


def still() -> float:
    """A clock on which nothing takes time: drafts are cheap, and tests repeat exactly."""
    return 0.0


def expected(asked: Sequence, model: LanguageModel = MODEL) -> list[int]:
    return list(reference_tokens(model, asked))


@pytest.mark.parametrize(("backend", "name"), CASES)
@given(arrivals=schedules, capacity=st.integers(1, 4), chosen=engine_settings, memory=st.none() | st.integers(1, 3))
@DETERMINISTIC
def test_every_sequence_gets_the_tokens_of_the_reference(
    backend: str, name: str, arrivals: list[tuple[Sequence, int]], capacity: int, chosen: EngineSettings, memory: int | None
) -> None:
    model, events, ids = MODELS[name], [], []
    forward = BACKENDS[backend](model, capacity)
    limit = None if memory is None else memory * forward.state_bytes(CONTEXT)
    engine = Engine(forward, replace(chosen, state_bytes=limit), still)
    for asked, steps in arrivals:
        ids.append(engine.admit(asked))
        for _ in range(steps):
            events += engine.step()
            assert engine.active <= capacity and engine.cached_bytes <= chosen.cache_bytes
    events += run(engine)
    tokens = tokens_of(events)
    assert [tokens[id] for id in ids] == [expected(asked, model) for asked, _ in arrivals]
    assert sorted(event.id for event in events if isinstance(event, Finished)) == ids
    assert all(forward.length(slot) == 0 for slot in range(capacity))


@pytest.mark.parametrize("name", ["attention", "hybrid"])
@given(
    asked=st.lists(requests, min_size=2, max_size=6),
    cancelled=st.integers(0, 5),
    before=st.integers(0, 12),
    capacity=st.integers(1, 3),
    chosen=engine_settings,
)
@DETERMINISTIC
def test_cancelling_one_disturbs_no_other(
    name: str, asked: list[Sequence], cancelled: int, before: int, capacity: int, chosen: EngineSettings
) -> None:
    model, events = MODELS[name], []
    engine = Engine(TorchBackend(model, capacity), chosen, still)
    ids = [engine.admit(one) for one in asked]
    gone = ids[cancelled % len(ids)]
    for _ in range(before):
        events += engine.step()
    engine.cancel(gone)
    later = run(engine)
    assert not any(event.id == gone for event in later)
    tokens = tokens_of(events + later)
    assert all(tokens[id] == expected(one, model) for id, one in zip(ids, asked, strict=True) if id != gone)


def test_cancelling_frees_everything_at_once() -> None:
    backend = TorchBackend(MODEL)
    engine = Engine(backend)
    first, second = (engine.admit(sequence(prompt, max_tokens=20)) for prompt in ("a", "b"))
    engine.step()
    assert (engine.active, engine.waiting) == (1, 1)
    engine.cancel(first)
    assert (engine.active, engine.waiting, backend.length(0)) == (0, 1, 0)
    assert {event.id for event in engine.step()} == {second}
    engine.cancel(second)
    engine.cancel(second)
    assert engine.idle and engine.step() == []


# What a forward pass computes


class Counting(LanguageModel):
    """Remembers the shapes of the tokens and of the logits of every call."""

    calls: list[tuple[tuple[int, ...], int]]

    def extend(self, tokens: Tensor, state: DecodingState, wanted: Tensor | None = None) -> Tensor:
        assert wanted is not None
        self.calls.append((tuple(tokens.shape), len(wanted)))
        return super().extend(tokens, state, wanted)


def counting_model(name: str = "attention") -> Counting:
    model = model_of(name)
    model.__class__ = Counting
    assert isinstance(model, Counting)
    model.calls = []
    return model


PLAIN = EngineSettings(cache_bytes=0, max_draft=0)
PLAIN_WITH_DRAFTS = replace(PLAIN, max_draft=6)


def test_only_what_is_read_is_computed() -> None:
    model = counting_model()
    engine = Engine(TorchBackend(model, 8), PLAIN)
    for length in (2, 4):
        engine.admit(sequence("abcdefgh"[:length], max_tokens=length))
    run(engine)
    prompts = [((1, 2), 1), ((1, 4), 1)]
    assert sorted(model.calls[:2]) == prompts
    assert model.calls[2:] == [((2, 1), 2), ((1, 1), 1), ((1, 1), 1)]


def test_prompts_are_computed_in_parts_while_others_are_decoded() -> None:
    model = counting_model()
    engine = Engine(TorchBackend(model, 2), replace(PLAIN, step_tokens=6))
    engine.admit(sequence("ab", max_tokens=20))
    engine.step()
    model.calls.clear()
    engine.admit(sequence("abcdefghijkl", max_tokens=1))
    steps = [engine.step() for _ in range(3)]
    assert [call for call in model.calls if call[0][1] > 1] == [((1, 5), 0), ((1, 5), 0), ((1, 2), 1)]
    assert [len(tokens_of(events)[1]) for events in steps] == [1, 1, 1]


def test_one_prompt_of_many_choices_is_computed_once() -> None:
    model = counting_model()
    engine = Engine(TorchBackend(model, 4), PLAIN)
    asked = [sequence("abcdefgh", max_tokens=6, temperature=1.0, seed=seed) for seed in range(4)]
    ids = [engine.admit(one) for one in asked]
    tokens = tokens_of(run(engine))
    assert [tokens[id] for id in ids] == [expected(one) for one in asked]
    assert sum(shape[0] * shape[1] for shape, _ in model.calls if shape[1] > 1) == 8
    assert (engine.statistics.prompt_tokens, engine.statistics.cached_tokens) == (32, 24)


def test_choices_go_on_when_the_one_that_computes_their_prompt_is_cancelled() -> None:
    engine = Engine(TorchBackend(MODEL, 2), replace(PLAIN, step_tokens=4))
    asked = sequence("abcdefgh", max_tokens=5)
    first, second = engine.admit(asked), engine.admit(asked)
    events = engine.step()
    engine.cancel(first)
    assert tokens_of(events + run(engine)) == {second: expected(asked)}


# Sharing


@pytest.mark.parametrize("name", MODELS)
def test_a_prefix_is_computed_once_and_its_hits_are_counted(name: str) -> None:
    model = MODELS[name]
    engine = Engine(TorchBackend(model), EngineSettings(block_tokens=4))
    first, second = sequence("def add(a, b): return a", max_tokens=4), sequence("def add(a, b): return b", max_tokens=4)
    engine.admit(first)
    run(engine)
    assert engine.statistics.cached_tokens == 0
    id = engine.admit(second)
    assert tokens_of(run(engine))[id] == expected(second, model)
    assert engine.statistics.cached_tokens == 20
    id = engine.admit(second)
    assert tokens_of(run(engine))[id] == expected(second, model)
    assert engine.statistics.cached_tokens == 40


@pytest.mark.parametrize("name", ["attention", "rwkv"])
def test_what_was_generated_is_shared_too(name: str) -> None:
    model = MODELS[name]
    engine = Engine(TorchBackend(model), EngineSettings(block_tokens=4, snapshot_tokens=4))
    asked = sequence("abcdefgh", max_tokens=12)
    id = engine.admit(replace(asked, stop_token_ids=frozenset()))
    answer = tokens_of(run(engine))[id]
    longer = replace(asked, prompt=(*asked.prompt, *answer))
    engine.admit(longer)
    run(engine)
    assert engine.statistics.cached_tokens == 16


def test_other_prompts_share_nothing() -> None:
    engine = Engine(TorchBackend(MODEL), EngineSettings(block_tokens=4))
    for prompt in ("abcdefgh", "xbcdefgh"):
        id = engine.admit(sequence(prompt, max_tokens=3))
        assert tokens_of(run(engine))[id] == expected(sequence(prompt, max_tokens=3))
    assert engine.statistics.cached_tokens == 0


@pytest.mark.parametrize("name", ["attention", "window", "hybrid"])
def test_the_cache_is_bounded_in_bytes(name: str) -> None:
    engine = Engine(TorchBackend(MODELS[name]), EngineSettings(block_tokens=4, cache_bytes=20_000))
    for start in range(12):
        engine.admit(sequence("".join(chr(ord("a") + (start * 7 + i * 3) % 26) for i in range(20)), max_tokens=2))
        run(engine)
        assert engine.cached_bytes <= 20_000
    assert engine.cached_bytes > 10_000


# Memory


@pytest.mark.parametrize("name", ["attention", "hybrid"])
def test_the_youngest_gives_way_when_memory_is_short_and_goes_on_exactly(name: str) -> None:
    model = MODELS[name]

    class Growing(TorchBackend):
        def state_bytes(self, length: int) -> int:
            return length

    asked = [sequence(prompt, max_tokens=20, temperature=1.0, seed=3) for prompt in ("abcd", "efgh", "ijkl")]
    engine = Engine(Growing(model, 3), EngineSettings(state_bytes=40, block_tokens=4))
    ids = [engine.admit(replace(one, stop_token_ids=frozenset())) for one in asked]
    events: list[Event] = []
    while not engine.idle:
        events += engine.step()
        assert sum(len(running.tokens) for running in engine._running) <= 40
    tokens = tokens_of(events)
    assert [tokens[id] for id in ids] == [expected(replace(one, stop_token_ids=frozenset()), model) for one in asked]
    assert engine.statistics.preemptions > 0


def test_a_sequence_that_can_never_fit_the_memory_is_refused() -> None:
    backend = TorchBackend(MODEL)
    needed = backend.state_bytes(CONTEXT)
    engine = Engine(backend, EngineSettings(state_bytes=needed - 1))
    with pytest.raises(ValueError, match=f"a state of {needed} bytes is larger than {needed - 1}"):
        engine.admit(sequence("a"))


# Drafting


@pytest.mark.parametrize("name", ["attention", "window", "mamba", "hybrid"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_drafted_tokens_are_those_that_would_have_been_sampled(name: str, temperature: float) -> None:
    model = MODELS[name]
    engine = Engine(TorchBackend(model), PLAIN_WITH_DRAFTS, still)
    for prompt in ("abababababababab", "((((((((((", "q"):
        asked = sequence(prompt, max_tokens=30, temperature=temperature, seed=5, logit_bias=FEW)
        id = engine.admit(asked)
        assert tokens_of(run(engine))[id] == expected(asked, model)
    assert engine.statistics.drafted_tokens > engine.statistics.accepted_tokens > 0


def test_text_that_repeats_itself_takes_fewer_steps() -> None:
    asked = sequence("x", max_tokens=40, logit_bias={VOCABULARY.encode("a")[0]: 100.0})
    engine = Engine(TorchBackend(MODEL), PLAIN_WITH_DRAFTS, still)
    engine.admit(asked)
    run(engine)
    assert engine.statistics.forwards < 20 and engine.statistics.accepted_tokens > 20


def test_drafts_stop_where_they_cost_more_than_they_save() -> None:
    """The clock says that a forward pass takes as long as it has tokens."""
    now = 0.0

    class Slow(TorchBackend):
        def forward(self, batch: ForwardBatch) -> Logits:
            nonlocal now
            now += len(batch.tokens)
            return super().forward(batch)

    drafted = []
    for clock in (still, lambda: now):
        engine = Engine(Slow(MODEL), PLAIN_WITH_DRAFTS, clock)
        for _ in range(3):
            engine.admit(sequence("abababab", max_tokens=30, temperature=1.0, seed=1, logit_bias=FEW))
            run(engine)
        drafted.append(engine.statistics.drafted_tokens)
    assert drafted[0] > 50 and drafted[1] < drafted[0] / 2


# Failures


class Fragile(LanguageModel):
    """Logits after a token `poison` are no numbers; a call with the token `bomb`, or any with `explode`, fails."""

    poison = bomb = -1
    explode = False

    def extend(self, tokens: Tensor, state: DecodingState, wanted: Tensor | None = None) -> Tensor:
        if self.explode or bool((tokens == self.bomb).any()):
            raise RuntimeError("out of memory")
        assert wanted is not None
        scores = super().extend(tokens, state, wanted)
        return torch.where((tokens.flatten()[wanted] == self.poison)[:, None], torch.nan, scores)


def fragile_model() -> Fragile:
    model = model_of("attention")
    model.__class__ = Fragile
    assert isinstance(model, Fragile)
    return model


@pytest.mark.parametrize(("kind", "reason"), [("poison", "the model's logits are not finite"), ("bomb", "RuntimeError: out of memory")])
def test_a_sequence_that_fails_does_not_fail_its_batch(kind: str, reason: str) -> None:
    model, healthy = fragile_model(), sequence("abc", max_tokens=10)
    right = expected(healthy, model)
    bad = sequence("ab(", max_tokens=10)
    setattr(model, kind, bad.prompt[-1])
    assert bad.prompt[-1] not in (*healthy.prompt, *right)
    engine = Engine(TorchBackend(model, 3))
    ids = [engine.admit(one) for one in (healthy, bad, healthy)]
    events = run(engine)
    assert [event for event in events if isinstance(event, Failed)] == [Failed(ids[1], reason)]
    assert [tokens_of(events)[id] for id in ids] == [right, [], right]


def test_values_of_a_failed_sequence_do_not_affect_others() -> None:
    asked = sequence("abc", max_tokens=6)
    backend = TorchBackend(MODEL, 2)
    engine = Engine(backend)
    damaged = engine.admit(sequence("xyz", max_tokens=20))
    engine.step()
    for layer in backend._state.layers:
        for tensor in layer.tensors():
            tensor[0] = torch.nan
    engine.cancel(damaged)
    id = engine.admit(asked)
    assert tokens_of(run(engine))[id] == expected(asked)


def test_damaged_states_are_not_shared() -> None:
    model = fragile_model()
    engine = Engine(TorchBackend(model), EngineSettings(block_tokens=4))
    asked = sequence("abcdefgh", max_tokens=6)
    model.poison = asked.prompt[-1]
    engine.admit(asked)
    assert isinstance(run(engine)[-1], Failed)
    assert engine.cached_bytes == 0
    model.poison = -1
    id = engine.admit(asked)
    assert tokens_of(run(engine))[id] == expected(asked, model)


def test_what_fails_alone_has_failed_and_the_engine_goes_on() -> None:
    model, asked = fragile_model(), sequence("abc", max_tokens=6)
    engine = Engine(TorchBackend(model, 2))
    ids = [engine.admit(asked), engine.admit(sequence("xyz", max_tokens=6))]
    engine.step()
    model.explode = True
    assert run(engine) == [Failed(id, "RuntimeError: out of memory") for id in ids]
    model.explode = False
    again = engine.admit(asked)
    assert tokens_of(run(engine))[again] == expected(asked, model)


# Limits and scores


def test_a_full_context_ends_with_length() -> None:
    engine = Engine(TorchBackend(MODELS["window"], 2))
    asked = replace(sequence("a" * (CONTEXT - 3), max_tokens=99), stop_token_ids=frozenset())
    id = engine.admit(asked)
    events = run(engine)
    assert events[-1] == Finished(id, "length")
    assert len(asked.prompt) + len(tokens_of(events)[id]) == CONTEXT


@pytest.mark.parametrize("prompt", [(), (-1,), (10, 10**9), (10,) * CONTEXT])
def test_what_cannot_be_decoded_is_refused_at_the_door(prompt: tuple[int, ...]) -> None:
    engine = Engine(TorchBackend(MODEL))
    with pytest.raises(ValueError, match="tokens"):
        engine.admit(Sequence(prompt, SamplingParams(max_tokens=1), frozenset()))
    with pytest.raises(ValueError, match="logit_bias"):
        engine.admit(Sequence((10,), SamplingParams(logit_bias={VOCABULARY.size: 1.0}), frozenset()))
    assert engine.idle


@pytest.mark.parametrize("step_tokens", [3, 100])
@pytest.mark.parametrize("name", ["attention", "hybrid"])
def test_logprobs_of_prompt_and_completion_are_the_models(name: str, step_tokens: int) -> None:
    model, asked = MODELS[name], sequence("abcdefgh", max_tokens=3, logprobs=3, prompt_logprobs=True)
    engine = Engine(TorchBackend(model, 2), EngineSettings(step_tokens=step_tokens, block_tokens=4))
    for _ in range(2):  # the second time the prefix is in the cache, which has no logits
        engine.admit(asked)
        events = run(engine)
        scored = next(event for event in events if isinstance(event, PromptScored))
        produced = [event for event in events if isinstance(event, Produced)]
        tokens = [*asked.prompt, *(token for event in produced for token in event.tokens)]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([tokens]))[0], -1)
        ours = [*scored.logprobs, *(scores for event in produced for scores in event.logprobs)]
        assert ours[0] is None and len(ours) == len(tokens)
        for position, scores in enumerate(ours[1:]):
            assert scores is not None
            assert scores.chosen == pytest.approx(float(logprobs[position, tokens[position + 1]]), abs=1e-4)
            assert list(scores.best.values()) == pytest.approx(logprobs[position].topk(3).values.tolist(), abs=1e-4)


def test_scoring_alone_produces_nothing() -> None:
    engine = Engine(TorchBackend(MODEL))
    scoring, nothing = engine.admit(sequence("abc", max_tokens=0, prompt_logprobs=True)), engine.admit(sequence("abc", max_tokens=0))
    events = run(engine)
    assert [(type(event), event.id) for event in events] == [(PromptScored, scoring), (Finished, scoring), (Finished, nothing)]
