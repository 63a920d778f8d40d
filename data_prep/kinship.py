"""Forks and vendored code: repositories that hold the lines of another. Held out, they would test memory, not skill."""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping

_SHORTEST = 40  # characters; shorter lines are everybody's
_ONE_IN = 16
KIN_SHARE = 0.1


def sketch(text: str) -> list[int]:
    """Hashes of about one in sixteen of the longer lines of a text; which lines depends on the lines alone."""
    hashes = (zlib.crc32(line.encode()) for line in map(str.strip, text.split("\n")) if len(line) >= _SHORTEST)
    return [number for number in hashes if number % _ONE_IN == 0]


def kin(sketches: Mapping[str, Iterable[int]]) -> set[str]:
    """The repositories of which more than a tenth of the sketched lines stand in another repository too.

    Exact and cheap at the size of packages; two projects under one licence header may look like kin, which only keeps them in train.
    """
    lines = {repository: set(numbers) for repository, numbers in sketches.items()}
    holders = Counter(number for numbers in lines.values() for number in numbers)
    shared = {repository: sum(holders[number] > 1 for number in numbers) for repository, numbers in lines.items()}
    return {repository for repository, count in shared.items() if count > KIN_SHARE * len(lines[repository])}
