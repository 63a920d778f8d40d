"""Forks and vendored code: repositories that share lines with another. In a held-out split they would test memorisation."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

_SHORTEST = 40  # characters; shorter lines occur everywhere
_ONE_IN = 16
FORK_SHARE = 0.1


def line_sketch(text: str) -> list[int]:
    """Hashes of about one in sixteen of the longer lines of a text; which lines depends on the lines alone."""
    hashes = (zlib.crc32(line.encode()) for line in map(str.strip, text.split("\n")) if len(line) >= _SHORTEST)
    return [number for number in hashes if number % _ONE_IN == 0]


def forks_of(sketches: Mapping[str, Sequence[int]]) -> set[str]:
    """The repositories of which more than a tenth of the sketched lines occur in another repository too.

    Two projects with the same licence header may be mistaken for forks, which only keeps them in train.
    """
    lines = [np.unique(np.array(numbers, np.uint32)) for numbers in sketches.values()]
    if not lines:
        return set()
    _, which, holders = np.unique(np.concatenate(lines), return_inverse=True, return_counts=True)
    shared = np.split(holders[which] > 1, np.cumsum([len(held) for held in lines])[:-1])
    return {name for name, held in zip(sketches, shared, strict=True) if held.sum() > FORK_SHARE * len(held)}
