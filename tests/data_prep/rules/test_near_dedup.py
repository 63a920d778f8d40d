"""MinHash against its definition in plain Python, the published rates, and the copy that stays."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.document import Entry
from data_prep.rules.near_dedup import MinHash, best_copy, clusters
from data_prep.rules.words import gram_hashes, word_hashes, words
from data_prep.statistics import Statistics

MINHASH = MinHash()


def text(rng: random.Random, length: int) -> list[str]:
    return [f"w{rng.randrange(9999)}" for _ in range(length)]


def planted(rng: random.Random, similarity: float, length: int = 600) -> tuple[str, str]:
    """Two texts of about this similarity: they begin alike and end differently."""
    kept = round(length * 2 * similarity / (1 + similarity))
    first = text(rng, length)
    return " ".join(first), " ".join(first[:kept] + text(rng, length - kept))


def shared_band(first: str, second: str) -> bool:
    sides = (MINHASH.bands(first), MINHASH.bands(second))
    left, right = (np.frombuffer(side or b"", "<u8") for side in sides)
    return bool((left == right).any())


@pytest.mark.parametrize("length", [5, 700])
def test_the_signature_is_that_of_the_slow_definition(length: int) -> None:
    one = MinHash(bands=2, rows=3)
    held = " ".join(text(random.Random(0), length))
    shingles = [int(value) >> 32 for value in gram_hashes(word_hashes(words(held)), 5)]
    functions = zip(one._factors[:, 0].tolist(), one._summands[:, 0].tolist(), strict=True)
    expected = [min((factor * value + summand) % 2**32 for value in shingles) for factor, summand in functions]
    found = one.signature(held)
    assert found is not None and found.tolist() == expected


@pytest.mark.parametrize(
    ("similarity", "least", "most"), [(0.5, 0, 0.1), (0.6, 0.04, 0.3), (0.7, 0.35, 0.65), (0.8, 0.85, 1), (0.9, 0.98, 1)]
)
def test_pairs_are_found_at_the_published_rates(similarity: float, least: float, most: float) -> None:
    rng = random.Random(similarity)
    found = sum(shared_band(*planted(rng, similarity)) for _ in range(150)) / 150
    assert least <= found <= most


def test_case_space_and_punctuation_make_no_difference_and_a_script_does() -> None:
    assert MINHASH.bands("def f(a): return a + 1") == MINHASH.bands("DEF f(A):\n\n\treturn(a)-1")
    assert MINHASH.bands("a = {'k': '数据', 'v': '学习'}; b = a") != MINHASH.bands("a = {'k': '模型', 'v': '网络'}; b = a")


@pytest.mark.parametrize(("held", "signed"), [("", False), ("a b c d", False), ("a b c d e", True)])
def test_fewer_words_than_a_shingle_have_no_signature(held: str, signed: bool) -> None:
    assert (MINHASH.bands(held) is not None) == signed
    assert len(MINHASH.bands("a b c d e") or b"") == 25 * 8


def test_a_signature_is_the_same_in_every_process() -> None:
    """Workers on many machines must agree: this is the one that any of them gives."""
    assert (MINHASH.bands("one two three four five") or b"")[:8].hex() == "7358b693fb208de8"


@given(links=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=24))
def test_clusters_are_the_connected_parts(links: list[tuple[int, int]]) -> None:
    table = np.arange(20 * max(1, len(links)), dtype="<u8").reshape(20, -1)
    for band, (left, right) in enumerate(links):
        table[left, band] = table[right, band]
    expected = list(range(20))
    for _ in range(20):  # plainly: hand the least number on along every link, until nothing can change
        for left, right in links:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert clusters([row.tobytes() for row in table]) == expected
    assert clusters([]) == []


def entry(repository: str, row: int, size: int = 10, stars: int = 0) -> Entry:
    return Entry(repository, f"{row}.py", ("MIT",), size, "f", row=row, stars=stars)


def test_the_best_copy_stays_whatever_the_order() -> None:
    same, other = MINHASH.bands("a b c d e f"), MINHASH.bands("other words are here now")
    ranked = [entry("z", 0, 5, stars=9), entry("y", 1, 30), entry("x", 2, 20), entry("x", 3, 20), entry("a", 4, 99)]
    for best, worse in pairwise(ranked[:4]):
        for order in ([best, worse], [worse, best]):
            statistics = Statistics("test")
            kept = statistics.filter(order, best_copy(order, {one.place: same for one in order}))
            assert kept == [best] and statistics.drops["near-duplicate"].bytes == worse.size
    bands = {one.place: same for one in ranked[:4]} | {ranked[4].place: other}
    assert Statistics("test").filter(ranked, best_copy(ranked, bands)) == [ranked[0], ranked[4]]


def test_what_has_no_signature_is_in_no_cluster() -> None:
    short = [entry("r", row) for row in range(3)]
    assert Statistics("test").filter(short, best_copy(short, {one.place: None for one in short})) == short
