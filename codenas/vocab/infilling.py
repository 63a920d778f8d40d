"""Fill-in-the-middle (FIM): the middle of a document is moved to its end, so that a left-to-right model learns to infill.

Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle". With half of the documents transformed, a
model predicts plain text as well as one trained without.
"""

import itertools
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from codenas.vocab.base import END_OF_TEXT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, Vocabulary

SENTINELS = 3

Ids = npt.NDArray[np.int64]


def infill_prompt(vocabulary: Vocabulary, prefix: Sequence[int], suffix: Sequence[int], spm: bool = False) -> list[int]:
    """The prompt for the middle between `prefix` and `suffix`, in the order PSM (prefix, suffix, middle) or SPM (suffix first)."""
    before, after, gap = (vocabulary.specials[name] for name in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE))
    return [before, after, *suffix, gap, *prefix] if spm else [before, *prefix, after, *suffix, gap]


class Infilling:
    """The FIM transformation of documents in windows of tokens; it keeps the length of a window.

    Args:
        vocabulary: of the windows.
        rate: the share of documents that are transformed.
        spm_share: the share of these in the order SPM.
    """

    def __init__(self, vocabulary: Vocabulary, rate: float, spm_share: float) -> None:
        self._vocabulary, self._rate, self._spm_share = vocabulary, rate, spm_share
        self._special = np.isin(np.arange(vocabulary.size), list(vocabulary.specials.values()))
        self._end_of_text = vocabulary.specials[END_OF_TEXT]

    def __call__(self, window: Ids, rng: random.Random) -> Ids:
        """`window` with some of its documents transformed, chosen independently; shape [tokens] as before."""
        moved = window.copy()
        borders = [0, *(np.flatnonzero(window == self._end_of_text) + 1).tolist(), len(window)]
        for start, stop in itertools.pairwise(borders):
            chosen, order, *cuts = (rng.random() for _ in range(4))  # always four, so that documents are independent of each other
            if chosen < self._rate:
                moved[start:stop] = self._moved(window[start:stop], cuts, order < self._spm_share)
        return moved

    def _moved(self, document: Ids, cuts: Sequence[float], spm: bool) -> Ids:
        """The transformed document of the same length. It ends with an end-of-text token, from which a model learns where a middle ends.

        Three sentinels, the end-of-text token and tokens that were split need room. The longer of prefix and suffix is truncated
        at the end far from the gap, as endpoints do. If it is too short for that, the document stays as it is.
        """
        text = document[document != self._end_of_text]
        if not len(text) or self._special[text].any():
            return document  # special tokens have no bytes
        prefix, middle, suffix = self._cut(text, cuts)
        excess = len(prefix) + len(middle) + len(suffix) + SENTINELS + 1 - len(document)
        if not 0 <= excess <= max(len(prefix), len(suffix)):
            return document
        if len(prefix) > len(suffix):
            prefix = prefix[excess:]
        else:
            suffix = suffix[: len(suffix) - excess]
        return np.array([*infill_prompt(self._vocabulary, prefix, suffix, spm), *middle, self._end_of_text], dtype=np.int64)

    def _cut(self, text: Ids, cuts: Sequence[float]) -> list[list[int]]:
        """Prefix, middle and suffix, cut between two characters and encoded again: a gap may begin inside a word, and so inside a token."""
        data = self._vocabulary.decode(text.tolist())
        within = (np.frombuffer(data, dtype=np.uint8)[1:] & 0xC0) == 0x80  # continuation bytes
        borders = [0, *(np.flatnonzero(~within) + 1).tolist(), len(data)]
        first, second = sorted(borders[int(cut * len(borders))] for cut in cuts)
        return [self._vocabulary.encode(piece) for piece in (data[:first], data[first:second], data[second:])]
