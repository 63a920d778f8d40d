"""Near-deduplication by MinHash and locality-sensitive hashing (Broder 1997), with the parameters of BigCode (Kocetkov et al. 2022)."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from codenas.seeds import derive
from data_prep.document import Entry, Place, Rule
from data_prep.rules.words import gram_hashes, word_hashes, words

_BAND_BYTES = 8
_AT_ONCE = 512  # shingles; with all their permutations they fit into the cache


class MinHash:
    """Computes the MinHash signatures of texts. Two texts of similarity s share a band with probability 1 - (1 - s^rows)^bands.

    Similarity is the Jaccard index of the sets of `shingle`-word shingles. With the published 25 bands of 10 rows the probability is
    .02, .14, .51 and .94 at similarity .5, .6, .7 and .8.

    Args:
        shingle: words in a shingle; a text with fewer has no signature.
        bands, rows: `bands` x `rows` permutations, each an affine function on the integers below 2^32.
    """

    def __init__(self, shingle: int = 5, bands: int = 25, rows: int = 10) -> None:
        self._shingle, self._bands = shingle, bands
        numbers = np.random.default_rng(derive(0, "MinHash")).integers(0, 1 << 32, (2, bands * rows, 1), dtype=np.uint32)
        self._factors, self._summands = numbers[0] | np.uint32(1), numbers[1]  # odd factors: only they permute

    def signature(self, text: str) -> npt.NDArray[np.uint32] | None:
        """The smallest hash of any shingle under each permutation; None for a text without a shingle."""
        hashes = gram_hashes(word_hashes(words(text)), self._shingle)
        if not len(hashes):
            return None
        short = (hashes >> np.uint64(32)).astype(np.uint32)
        least = np.full(len(self._factors), np.iinfo(np.uint32).max, np.uint32)
        for start in range(0, len(short), _AT_ONCE):
            permuted = self._factors * short[start : start + _AT_ONCE]
            permuted += self._summands
            np.minimum(least, permuted.min(axis=1), out=least)
        return least

    def bands(self, text: str) -> bytes | None:
        """The hash of each band of the signature, eight bytes each; None if there is no signature."""
        signature = self.signature(text)
        if signature is None:
            return None
        rows = signature.astype("<u4").reshape(self._bands, -1)
        return b"".join(hashlib.blake2b(band.tobytes(), digest_size=_BAND_BYTES).digest() for band in rows)


def clusters(held: Sequence[bytes]) -> list[int]:
    """For each member of `held` (results of `MinHash.bands`) the index of the first member of its cluster.

    Members that share a band are in one cluster, directly or through others (union-find).
    """
    roots = list(range(len(held)))
    if not held:
        return roots
    table = np.frombuffer(b"".join(held), "<u8").reshape(len(held), -1)
    for band in table.T:
        order = np.argsort(band, kind="stable")
        equal = np.flatnonzero(band[order[1:]] == band[order[:-1]])
        for left, right in zip(order[equal].tolist(), order[equal + 1].tolist(), strict=True):
            _join(roots, left, right)
    return [_root(roots, member) for member in range(len(held))]


def best_copy(entries: Iterable[Entry], bands: Mapping[Place, bytes | None]) -> Rule:
    """Keep the best copy of each cluster of near-duplicates.

    The best is that of the repository with the most stars, as in StarCoder2; ties are broken by length, then by repository and
    path. Entries without bands are in no cluster.
    """
    ranked = sorted(entries, key=lambda entry: (-entry.stars, -entry.size, entry.key, entry.place))
    signed = [(entry.place, signature) for entry in ranked if (signature := bands[entry.place]) is not None]
    first = clusters([signature for _, signature in signed])
    losers = {place for number, (place, _) in enumerate(signed) if first[number] != number}
    return lambda entry: "near-duplicate" if entry.place in losers else None


def _root(roots: list[int], member: int) -> int:
    while roots[member] != member:
        roots[member] = roots[roots[member]]
        member = roots[member]
    return member


def _join(roots: list[int], left: int, right: int) -> None:
    """Join two clusters. The smaller index stays the root, so that a root is the first of its cluster."""
    left, right = _root(roots, left), _root(roots, right)
    roots[max(left, right)] = min(left, right)
