"""Engines side by side: what is timed, in which order, and that they compute the same."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from codenas.arch import ArchSpec, AttentionSpec, Design, MixerSpec
from codenas.arch.mixers import MIXER_SPECS
from codenas.export.comparison import compare_engines, in_storage, random_checkpoint
from codenas.measure.contenders import Contender, TorchContender
from codenas.measure.decoding_speed import measure_speeds, sample_logits
from codenas.measure.footprint import measure_footprint
from codenas.measure.workload import MAX_BATCH, Decoder, Workload, batch_of, read_prompt, step_of
from codenas.metrics import LatencyContext

WORK = Workload(prompt=8, tokens=4, streams=2, stream_steps=2, drafts=(2,), rounds=2)
VOCAB_SIZE = 300


class Silent:
    """A decoder that notes what it is asked."""

    vocab_size = VOCAB_SIZE

    def __init__(self, name: str, calls: list[str]) -> None:
        self._name, self._calls = name, calls

    def forward(self, batch: object) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        self._calls.append(self._name)
        return np.zeros((1, VOCAB_SIZE), np.float32)

    def reset(self, slot: int) -> None: ...

    def mark(self, slot: int) -> None: ...

    def rewind(self, slot: int) -> None: ...


class SilentContender(Contender):
    """Opens silent decoders."""

    calls: ClassVar[list[str]] = []
    context = LatencyContext(device="box", threads=1)
    weights_bytes = 1

    def load_libraries(self) -> None: ...

    def open(self, slots: int, context_len: int) -> Decoder:
        return Silent(self.name, self.calls)


def test_rounds_of_the_engines_take_turns() -> None:
    first = SilentContender("a", Path(), "int8", 1)
    first.calls.clear()
    rounds: list[int] = []
    measure_speeds([first, replace(first, name="b")], WORK, on_round=lambda: rounds.append(len(first.calls)))
    calls = first.calls[rounds[0] - (rounds[1] - rounds[0]) : rounds[1]]
    assert "".join(dict.fromkeys(calls)) == "ab" and len(rounds) == WORK.rounds
    each = len(calls) // 4
    assert "".join(calls) == "".join(name * each for name in "abab")


@pytest.mark.parametrize("mixer", [spec(kind=spec.family()) for spec in MIXER_SPECS], ids=lambda mixer: mixer.kind)
def test_an_engine_goes_back_to_what_it_has_marked(mixer: MixerSpec, tmp_path: Path) -> None:
    """Otherwise the second round, and every draft but the first, would be behind another prompt than the others."""
    checkpoint = random_checkpoint(_design(mixer), VOCAB_SIZE, tmp_path)
    decoder = TorchContender("torch", checkpoint.path, "float16", 1).open(2, WORK.context_len)
    ids = WORK.ids(VOCAB_SIZE)
    for slot in range(2):
        read_prompt(decoder, ids[slot, : WORK.prompt], slot)
        decoder.mark(slot)
    step = step_of(ids[:, WORK.prompt], WORK.prompt)
    expected = decoder.forward(step).copy()
    decoder.rewind(0)
    decoder.forward(batch_of(ids[0, :2], 0, WORK.prompt))
    for slot in range(2):
        decoder.rewind(slot)
    assert np.allclose(decoder.forward(step), expected, atol=1e-5)


def test_what_is_measured_of_one_engine(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(_design(), VOCAB_SIZE, tmp_path)
    contender = TorchContender("torch float16", checkpoint.path, "float16", 1)
    (speed,) = measure_speeds([contender], WORK, [sample_logits(contender, WORK)])
    assert speed.logits_error == pytest.approx(0, abs=1e-6)
    assert speed.token_ms <= speed.token_p90_ms and speed.request_ms > speed.prompt_ms > 0
    assert set(speed.draft_cost) == {2} and speed.weights_bytes == (checkpoint.path / "model.safetensors").stat().st_size
    assert speed.context.precision == "float32"


def test_a_prompt_of_several_batches_gives_the_logits_of_its_last_token(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(_design(context_len=2 * MAX_BATCH), VOCAB_SIZE, tmp_path)
    decoder = TorchContender("torch", checkpoint.path, "float16", 1).open(1, 2 * MAX_BATCH)
    ids = Workload(prompt=2 * MAX_BATCH - 8).ids(VOCAB_SIZE)[0]
    for length in (MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 1):
        logits = read_prompt(decoder, ids[:length], 0).copy()
        decoder.reset(0)
        decoder.forward(batch_of(ids[: length - 1], 0, 0, "none"))
        assert np.allclose(decoder.forward(batch_of(ids[length - 1 : length], 0, length - 1)), logits, atol=1e-3)


@pytest.mark.slow
def test_the_footprint_is_that_of_a_process_of_its_own(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(_design(), VOCAB_SIZE, tmp_path)
    found = measure_footprint(TorchContender("torch", checkpoint.path, "float16", 1), WORK)
    assert 0 < found.load_s < 60 and found.resident_bytes > 0


def test_llama_cpp_decodes_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    design = _design(AttentionSpec(n_heads=4, n_kv_heads=4))
    checkpoint = in_storage(random_checkpoint(design, VOCAB_SIZE, tmp_path), "int8", tmp_path)
    found = compare_engines("tiny", [checkpoint], ["torch", "llama.cpp"], [1], WORK, tmp_path, footprints=False)
    ours, theirs = found.speeds
    assert theirs.engine == "llama.cpp q8_0" and isinstance(theirs.logits_error, float)
    assert ours.logits_error == pytest.approx(0, abs=1e-6) and 0 < theirs.logits_error < 0.1


def _design(mixer: MixerSpec | None = None, context_len: int = 32) -> Design:
    return Design(arch=ArchSpec(d_model=64, n_layers=2, pattern=(mixer or AttentionSpec(),), context_len=context_len))
