"""Latency per token, with a decoder whose every step takes a known time."""

import time
from collections.abc import Iterator

import pytest
import torch

from codenas.arch import ArchSpec
from codenas.compress.stored import StoredModel
from codenas.decode.engine import Engine
from codenas.decode.generate import generate
from codenas.decode.sequence import Sequence
from codenas.measure import latency
from codenas.measure.latency import decoding_latency
from codenas.measure.served import device_name
from codenas.measure.timed_tokens import WARMUP_TOKENS
from codenas.metrics import Metrics
from codenas.model import build_model
from tests.fakes import CONTEXT, VOCAB_SIZE, Clock, tiny_arch


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence]:
    """A decoder that takes a second for the prompt and for every warm-up token, then 1, 2, 3 ... ms; what it was asked for.

    The first time it is disturbed: all takes ten times as long.
    """
    clock, sequences = Clock(), list[Sequence]()

    def generate(engine: Engine, sequence: Sequence) -> Iterator[int]:
        sequences.append(sequence)
        for token in range(sequence.params.max_tokens):
            disturbed = 10 if len(sequences) == 1 else 1
            clock.advance(disturbed * (1.0 if token < WARMUP_TOKENS else (token - WARMUP_TOKENS + 1) / 1_000))
            yield 0

    monkeypatch.setattr(latency, "generate", generate)
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(time, name, clock)
    return sequences


@pytest.mark.parametrize(("tokens", "p50", "p95"), [(20, 10.5, 19.0), (5, 3.0, 4.0), (1, 1.0, 1.0)])
def test_median_and_tail_without_the_warm_up(tokens: int, p50: float, p95: float, asked: list[Sequence]) -> None:
    measured = decoding_latency(stored(tiny_arch()), tokens=tokens)
    assert [measured.p50_ms, measured.p95_ms] == pytest.approx([p50, p95]) and measured.tokens == tokens
    assert asked[0].params.temperature == 0 and not asked[0].stop_token_ids


def test_the_uncertainty_is_the_gap_to_the_second_best_round(asked: list[Sequence]) -> None:
    model = stored(tiny_arch())
    assert decoding_latency(model, tokens=20, rounds=2).p50_uncertainty_ms == pytest.approx(9 * 10.5)  # the first is disturbed
    assert decoding_latency(model, tokens=20).p50_uncertainty_ms == pytest.approx(0)
    assert decoding_latency(model, tokens=20, rounds=1).p50_uncertainty_ms is None


@pytest.mark.parametrize("context_len", [10, 11, 16, 64, 200])
@pytest.mark.parametrize("tokens", [1, 64])
def test_prompt_and_answer_fit_any_context(context_len: int, tokens: int, asked: list[Sequence]) -> None:
    measured = decoding_latency(stored(tiny_arch(context_len=context_len)), tokens=tokens)
    sequence, *others = asked
    assert others == [sequence, sequence]
    assert 1 <= len(sequence.prompt) <= 64
    assert len(sequence.prompt) + sequence.params.max_tokens <= context_len
    assert measured.tokens == sequence.params.max_tokens - WARMUP_TOKENS == min(tokens, context_len - WARMUP_TOKENS - 1)


def test_a_context_too_short_to_time_is_refused() -> None:
    with pytest.raises(ValueError, match=f"a context of 9 is too short to time decoding; it takes {WARMUP_TOKENS + 2}"):
        decoding_latency(stored(tiny_arch(context_len=9)))


def test_the_prompt_holds_ids_of_the_vocabulary(asked: list[Sequence]) -> None:
    decoding_latency(stored(tiny_arch(), 3), tokens=4)
    assert set(asked[0].prompt) == {0, 1, 2}


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_other_work_does_not_count_where_one_thread_decodes(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tokens the processor is somebody else's for 20 ms, as the scheduler of a busy machine has it."""

    def interrupted(engine: Engine, sequence: Sequence) -> Iterator[int]:
        for token in generate(engine, sequence):
            time.sleep(0.02)
            yield token

    model = stored(tiny_arch())
    monkeypatch.setattr(latency, "generate", interrupted)
    assert decoding_latency(model, tokens=4, rounds=1).p50_ms < 20
    torch.set_num_threads(2)
    assert decoding_latency(model, tokens=4, rounds=1).p50_ms >= 20


def test_a_real_model_is_timed() -> None:
    measured = decoding_latency(stored(tiny_arch()), tokens=8)
    assert 0 < measured.p50_ms <= measured.p95_ms
    assert measured.tokens == 8 < CONTEXT


def test_a_latency_says_what_it_was_measured_on(one_thread: None) -> None:
    for threads, clock in ((1, "CPU"), (2, "wall")):
        torch.set_num_threads(threads)
        found = decoding_latency(stored(tiny_arch()), tokens=4)
        assert (found.context.device, found.context.threads, found.context.clock) == (device_name(), threads, clock)
        assert found.context.backend is not None and f"{clock} time" in str(found.context)
        assert found.metrics == Metrics(latency_ms_p50=found.p50_ms, latency_ms_p95=found.p95_ms, latency_context=found.context)


def stored(arch: ArchSpec, vocab_size: int = VOCAB_SIZE) -> StoredModel:
    """A new model as a file holds it."""
    return StoredModel.packed(arch, vocab_size, "int8", build_model(arch, vocab_size).state_dict())
