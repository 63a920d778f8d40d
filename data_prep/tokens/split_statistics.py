"""Statistics of the documents of each split, counted while they are tokenised."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from codenas.corpus import Figures, Portion

_BINS = 64


class SplitCounter:
    """Documents, bytes and tokens by language, and histograms of the document lengths. Sums only: the order does not matter."""

    def __init__(self) -> None:
        self._languages: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._sizes: dict[str, npt.NDArray[np.int64]] = defaultdict(lambda: np.zeros(_BINS, np.int64))
        self._lengths: dict[str, npt.NDArray[np.int64]] = defaultdict(lambda: np.zeros(_BINS, np.int64))

    def add(self, split: str, languages: Sequence[str], sizes: Sequence[int], lengths: Sequence[int]) -> None:
        """Count documents of `split`, given the language, the bytes and the tokens of each."""
        counts = self._languages[split]
        for language, size, length in zip(languages, sizes, lengths, strict=True):
            counts[language, "documents"] += 1
            counts[language, "bytes"] += size
            counts[language, "tokens"] += length
        self._sizes[split] += _binned(sizes)
        self._lengths[split] += _binned(lengths)

    def merge(self, split: str, figures: Figures) -> None:
        """Add the counts of other documents of `split`."""
        for language, portion in figures.languages.items():
            self._languages[split].update({(language, what): count for what, count in portion.model_dump().items()})
        for bins, counted in ((self._sizes[split], figures.sizes), (self._lengths[split], figures.lengths)):
            bins[: len(counted)] += counted

    def figures(self) -> dict[str, Figures]:
        """The statistics of each split that has documents."""
        return {split: self._figures(split) for split in self._languages}

    def _figures(self, split: str) -> Figures:
        counts = self._languages[split]
        names = sorted({name for name, _ in counts}, key=lambda name: (-counts[name, "bytes"], name))
        languages = {name: Portion(**{what: counts[name, what] for what in Portion.model_fields}) for name in names}
        return Figures(languages=languages, sizes=_trimmed(self._sizes[split]), lengths=_trimmed(self._lengths[split]))


def _binned(values: Sequence[int]) -> npt.NDArray[np.int64]:
    """The number of values that need n bits, for each n; shape [64]."""
    bits = np.frexp(np.array(values, np.float64))[1]
    return np.bincount(bits, minlength=_BINS)


def _trimmed(bins: npt.NDArray[np.int64]) -> tuple[int, ...]:
    """The bins without the empty ones at the end."""
    return tuple(np.trim_zeros(bins, "b").tolist())
