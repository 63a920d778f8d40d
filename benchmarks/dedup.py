"""Near-duplicates: ours beside the per-document way of BigCode's script, in speed, and in recall and precision on planted pairs."""

import hashlib
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations

import numpy as np

from codenas.seeds import stream
from data_prep.document import Document
from data_prep.rules.near_dedup import MinHash
from data_prep.rules.words import words
from data_prep.sources.environment import Environment

DOCUMENTS, ROUNDS, PAIRS = 400, 3, 100
SIMILARITIES = (0.6, 0.7, 0.8, 0.9)
NEAR = 0.5  # a pair that is found below this similarity is a false one
BANDS, ROWS, SHINGLE = 25, 10, 5
BAR = 66  # documents a second on a core: three times what BigCode's script is said to do

_MERSENNE, _MAX_HASH = np.uint64((1 << 61) - 1), np.uint64((1 << 32) - 1)
_NON_WORD = re.compile("[^A-Za-z_0-9]")

Bands = Callable[[str], list[bytes]]


def measure() -> dict[str, object]:
    """Documents per second of one core, in interleaved rounds over the same files; then the planted pairs."""
    texts = _texts()
    ways: dict[str, Bands] = {"ours": _ours(), "per_document": _per_document()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, bands in ways.items():
            started = time.process_time()
            for text in texts:
                bands(text)
            seconds[name].append(time.process_time() - started)
    speed = {name: round(len(texts) / min(times), 1) for name, times in seconds.items()}
    return {
        "documents": len(texts),
        "mean_bytes": round(sum(len(text.encode()) for text in texts) / len(texts)),
        "documents_per_second_per_core": speed,
        "speedup": round(speed["ours"] / speed["per_document"], 1),
        "bar": BAR,
        **{name: _quality(bands, texts) for name, bands in ways.items()},
    }


def _texts() -> list[str]:
    """Files of this Python with at least 300 words, drawn from the seed."""
    environment, rng = Environment(), stream(0, "dedup")
    found = environment.find()
    rng.shuffle(found)
    read = (document.text for entry in found if isinstance(document := environment.read(entry), Document))
    long_enough = (text for text in read if len(words(text)) >= 300)
    return [text for text, _ in zip(long_enough, range(DOCUMENTS), strict=False)]


def _ours() -> Bands:
    minhash = MinHash(SHINGLE, BANDS, ROWS)

    def bands(text: str) -> list[bytes]:
        held = minhash.bands(text) or b""
        return [held[start : start + 8] for start in range(0, len(held), 8)]

    return bands


def _per_document() -> Bands:
    """The approach of bigcode-dataset: a set of joined shingles, SHA-1 of each, 64-bit arithmetic modulo a Mersenne prime."""
    numbers = np.random.default_rng(42)
    factors = numbers.integers(1, int(_MERSENNE), BANDS * ROWS, dtype=np.uint64)
    summands = numbers.integers(0, int(_MERSENNE), BANDS * ROWS, dtype=np.uint64)

    def bands(text: str) -> list[bytes]:
        held = [word for word in _NON_WORD.split(text.lower()) if word]
        shingles = {" ".join(held[start : start + SHINGLE]) for start in range(len(held) - SHINGLE + 1)}
        hashes = np.array([int.from_bytes(hashlib.sha1(one.encode()).digest()[:4], "little") for one in shingles], np.uint64)
        permuted = ((hashes[:, None] * factors + summands) % _MERSENNE) & _MAX_HASH
        least = permuted.min(axis=0)
        return [least[start : start + ROWS].tobytes() for start in range(0, len(least), ROWS)]

    return bands


def _quality(bands: Bands, texts: list[str]) -> dict[str, object]:
    """The share of planted pairs that are found, by similarity; the share of all pairs found that are near-duplicates."""
    rng = random.Random(0)
    held, planted = list(texts[:PAIRS]), []
    for similarity in SIMILARITIES:
        for number in range(PAIRS):
            planted.append((similarity, number, len(held)))
            held.append(_changed(texts[number], similarity, rng))
    members: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, text in enumerate(held):
        for band, value in enumerate(bands(text)):
            members[band, value].append(number)
    found = {pair for group in members.values() for pair in combinations(group, 2)}
    near = sum(_jaccard(held[left], held[right]) >= NEAR for left, right in found)
    recall = {
        str(similarity): sum((left, right) in found for of, left, right in planted if of == similarity) / PAIRS
        for similarity in SIMILARITIES
    }
    return {"recall": recall, "precision": round(near / max(len(found), 1), 4)}


def _changed(text: str, similarity: float, rng: random.Random) -> str:
    """The words of a text, so many of them exchanged, far apart, that about this similarity of shingles is left."""
    held = [word.decode() for word in words(text)]
    count = round(len(held) * (1 - similarity) / (1 + similarity) / SHINGLE)
    for place in rng.sample(range(0, len(held), SHINGLE), count):
        held[place] = f"new{rng.randrange(1 << 30)}"
    return " ".join(held)


def _jaccard(left: str, right: str) -> float:
    first, second = _shingles(left), _shingles(right)
    return len(first & second) / max(len(first | second), 1)


def _shingles(text: str) -> set[tuple[bytes, ...]]:
    held = words(text)
    return set(zip(*(held[start:] for start in range(SHINGLE)), strict=False))
