"""Bits per byte against values worked out by hand."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from codenas.corpus import Corpus, Tokens
from codenas.errors import CorpusError
from codenas.measure.bits_per_byte import bits_per_byte, window_starts
from codenas.model import LanguageModel, build_model
from codenas.vocab import load_vocabulary
from tests.fakes import CONTEXT, drawn_model, tiny_arch, tiny_corpus

VOCAB_SIZE = 300
Sizes = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def sizes(corpus: Corpus) -> Sizes:
    return load_vocabulary(corpus.tokenizer_path).bytes_per_token


def uniform() -> LanguageModel:
    """A model for which every token is equally likely."""
    model = build_model(tiny_arch(), VOCAB_SIZE)
    torch.nn.init.zeros_(model.embedding.weight)
    return model


def tokens_of(folder: Path, ids: list[int]) -> Tokens:
    np.array(ids, dtype="<u2").tofile(folder / "tokens.bin")
    return Tokens([folder / "tokens.bin"], "uint16", 0, VOCAB_SIZE)


def test_a_uniform_model_needs_log2_of_the_vocabulary_for_every_token(corpus: Corpus, sizes: Sizes) -> None:
    valid = corpus.split("valid")
    scored = bits_per_byte(uniform(), valid, sizes)
    targets = valid.read(1, scored.tokens + 1)
    assert scored.bytes == sizes[targets].sum()
    assert scored.bits_per_byte == pytest.approx(math.log2(VOCAB_SIZE) * scored.tokens / scored.bytes, rel=1e-6)


def test_special_tokens_cost_nats_and_have_no_bytes(tmp_path: Path) -> None:
    sizes = np.array([0] + [2] * (VOCAB_SIZE - 1))
    half = tokens_of(tmp_path, [0 if i % 2 else 5 for i in range(CONTEXT + 1)])
    scored = bits_per_byte(uniform(), half, sizes)
    assert (scored.tokens, scored.bytes) == (CONTEXT, CONTEXT)  # half of the targets, two bytes each
    assert scored.bits_per_byte == pytest.approx(math.log2(VOCAB_SIZE), rel=1e-6)


def test_the_definition_window_by_window(corpus: Corpus, sizes: Sizes) -> None:
    model, valid = drawn_model(tiny_arch(position="absolute")), corpus.split("valid")
    nats = size = 0.0
    for start in range(0, len(valid) - CONTEXT, CONTEXT):
        window = torch.from_numpy(valid.read(start, start + CONTEXT + 1))
        with torch.no_grad():
            chances = model(window[None, :-1])[0].log_softmax(-1)
        nats -= sum(float(chances[place, target]) for place, target in enumerate(window[1:]))
        size += float(sizes[window[1:]].sum())
    assert bits_per_byte(model, valid, sizes).bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_a_model_that_knows_the_text_needs_nothing(tmp_path: Path) -> None:
    class Counting(torch.nn.Module):
        """Sure that every token is the successor of the one before."""

        arch, device = tiny_arch(), torch.device("cpu")

        def forward(self, tokens: Tensor) -> Tensor:
            return 100.0 * torch.nn.functional.one_hot(tokens + 1, VOCAB_SIZE).float()

    counted = tokens_of(tmp_path, list(range(4 * CONTEXT + 1)))
    scored = bits_per_byte(Counting(), counted, np.ones(VOCAB_SIZE, dtype=np.int64))  # type: ignore[arg-type]
    assert scored.bits_per_byte == pytest.approx(0.0, abs=1e-6)


def test_dropout_is_off_and_no_gradient_is_kept(corpus: Corpus, sizes: Sizes) -> None:
    model = drawn_model(tiny_arch(dropout=0.5)).train()
    scores = {bits_per_byte(model, corpus.split("valid"), sizes).bits_per_byte for _ in range(2)}
    assert len(scores) == 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_reduced_precision_is_near(corpus: Corpus, sizes: Sizes) -> None:
    model, valid = drawn_model(tiny_arch()), corpus.split("valid")
    full, reduced = (bits_per_byte(model, valid, sizes, precision=precision).bits_per_byte for precision in ("float32", "bfloat16"))
    assert full != reduced and reduced == pytest.approx(full, rel=0.01)


def test_fewer_tokens_are_scored_where_fewer_are_asked_for(corpus: Corpus, sizes: Sizes) -> None:
    valid = corpus.split("valid")
    assert bits_per_byte(uniform(), valid, sizes, max_tokens=5 * CONTEXT + 3).tokens == 5 * CONTEXT
    assert bits_per_byte(uniform(), valid, sizes, max_tokens=1).tokens == CONTEXT
    assert bits_per_byte(uniform(), valid, sizes, max_tokens=10**9) == bits_per_byte(uniform(), valid, sizes)


@pytest.mark.parametrize("length", [9, 10, 16, 17, 18, 1_000, 1_001])
def test_windows_cover_every_target_once(length: int) -> None:
    starts = window_starts(length, 8, None)
    targets = [start + place for start in starts for place in range(1, 9)]
    assert targets == list(range(1, len(targets) + 1))
    assert length - 8 <= targets[-1] < length


@pytest.mark.parametrize("wanted", [1, 8, 40, 100, 264])
def test_chosen_windows_are_spread_over_the_whole(wanted: int) -> None:
    starts = window_starts(1_001, 8, wanted)
    assert len(starts) == max(1, wanted // 8) == len(set(starts))
    gaps = [later - start for start, later in pairwise([*starts, 1_000])]
    assert starts[0] == 0 and all(start % 8 == 0 for start in starts)
    assert max(gaps) - min(gaps) <= 8


def test_too_few_tokens_for_a_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"{CONTEXT} held-out tokens are too few for one window of {CONTEXT + 1}; prepare more"):
        bits_per_byte(uniform(), tokens_of(tmp_path, [1] * CONTEXT), np.ones(VOCAB_SIZE, dtype=np.int64))


def test_targets_without_a_byte_are_refused(tmp_path: Path) -> None:
    sizes = np.array([0] + [2] * (VOCAB_SIZE - 1))
    with pytest.raises(CorpusError, match=f"all of {CONTEXT} held-out targets are special tokens.*; prepare another source"):
        bits_per_byte(uniform(), tokens_of(tmp_path, [0] * (CONTEXT + 1)), sizes)


def test_large_scores_are_made_of_fewer_windows_at_once(corpus: Corpus, sizes: Sizes, monkeypatch: pytest.MonkeyPatch) -> None:
    model, valid, rows = drawn_model(tiny_arch()), corpus.split("valid"), list[int]()
    model.register_forward_hook(lambda _model, _inputs, scores: rows.append(len(scores)))
    whole = bits_per_byte(model, valid, sizes, 8 * CONTEXT)
    monkeypatch.setattr("codenas.measure.bits_per_byte._LOGITS", 2 * CONTEXT * len(sizes))
    parts = bits_per_byte(model, valid, sizes, 8 * CONTEXT)
    assert rows == [8] + [2] * 4
    assert parts.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=1e-6)
