"""The order of training windows."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.corpus import Batches, Tokens
from codenas.corpus.batches import _permutation
from codenas.corpus.shards import Ids
from codenas.errors import CorpusError
from tests.corpus.corpora import write_corpus

LENGTH = 41
PINNED = [2, 0, 6, 1, 5, 7, 4, 3]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return write_corpus(tmp_path_factory.mktemp("corpus"), {"train": [list(range(1, LENGTH))]}).split("train")


def _windows(inputs: Ids, targets: Ids) -> list[tuple[int, ...]]:
    """The windows behind `inputs` and `targets`."""
    return [(*row, last) for row, last in zip(inputs.tolist(), targets[:, -1].tolist(), strict=True)]


def test_an_epoch_reads_every_window_once_and_targets_are_the_next_tokens(tokens: Tokens) -> None:
    batches = Batches(tokens, context_len=4, seed=1)
    assert batches.windows == (LENGTH - 1) // 4
    inputs, targets = batches.at(0, batches.windows)
    assert inputs.shape == targets.shape == (batches.windows, 4)
    assert inputs.dtype == targets.dtype == np.int64
    assert sorted(inputs.ravel()) == list(range(1, LENGTH))
    assert (targets[:, :-1] == inputs[:, 1:]).all()
    assert sorted(targets.ravel()) == [0, *range(2, LENGTH)]


@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6), start=st.integers(0, 40))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_the_order_does_not_depend_on_how_it_is_asked_for(tokens: Tokens, cuts: list[int], start: int) -> None:
    whole = Batches(tokens, 4, seed=5).at(start, sum(cuts))
    batches, cursor, parts = Batches(tokens, 4, seed=5), start, []
    for count in cuts:
        parts.append(batches.at(cursor, count))
        cursor += count
    assert (np.concatenate([inputs for inputs, _ in parts]) == whole[0]).all()
    assert (np.concatenate([targets for _, targets in parts]) == whole[1]).all()


def test_epochs_and_seeds_have_orders_of_their_own(tokens: Tokens) -> None:
    batches = Batches(tokens, 4, seed=1)
    epochs = [batches.at(epoch * batches.windows, batches.windows)[0][:, 0].tolist() for epoch in range(3)]
    other = Batches(tokens, 4, seed=2).at(0, batches.windows)[0][:, 0].tolist()
    assert len({tuple(order) for order in (*epochs, other)}) == 4
    assert all(sorted(order) == sorted(other) for order in epochs)


def test_a_rewrite_has_a_generator_of_its_own_for_each_window_of_each_epoch(tokens: Tokens) -> None:
    def rotated(window: Ids, rng: random.Random) -> Ids:
        return np.roll(window, rng.randrange(5))

    plain, batches = Batches(tokens, 4, seed=5), Batches(tokens, 4, seed=5, rewrite=rotated)
    count = 3 * plain.windows
    inputs, targets = batches.at(0, count)
    one_by_one = [batches.at(cursor, 1) for cursor in reversed(range(count))][::-1]
    assert (np.concatenate([inputs for inputs, _ in one_by_one]) == inputs).all()
    assert (np.concatenate([targets for _, targets in one_by_one]) == targets).all()
    windows, original = _windows(inputs, targets), _windows(*plain.at(0, count))
    assert [sorted(window) for window in windows] == [sorted(window) for window in original]
    assert windows != original and len(set(windows)) > plain.windows == len(set(original))


def test_the_permutation_is_the_same_for_ever() -> None:
    assert _permutation(7, 8).tolist() == PINNED
    assert sorted(_permutation(3, 1000).tolist()) == list(range(1000))


def test_a_corpus_too_small_for_the_context_is_refused(tokens: Tokens) -> None:
    assert Batches(tokens, LENGTH - 1, seed=0).windows == 1
    with pytest.raises(CorpusError, match=rf"too small for the context: {LENGTH} tokens.*{LENGTH + 1}.*at most {LENGTH - 1}"):
        Batches(tokens, LENGTH, seed=0)


def test_illegal_arguments_are_refused(tokens: Tokens) -> None:
    with pytest.raises(ValueError, match="context_len is 0"):
        Batches(tokens, 0, seed=0)
    for cursor, count in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="cursor"):
            Batches(tokens, 4, seed=0).at(cursor, count)


def test_no_shards_are_no_windows(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="0 tokens"):
        Batches(Tokens([], "uint16", 0, 300), 4, seed=0)
