"""A cache of encoded words: code repeats its words, and each needs to be encoded only once.

Several times as fast as encoding whole texts with the library, which splits slowly and caches only 10,000 words.
"""

import itertools
import re
from typing import Any

from tokenizers import Tokenizer

# GPT-2's pattern (openai/gpt-2, `src/encoder.py`) on ASCII, where letters and digits are what they seem and `\s` is the library's.
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
# Before a line end that follows a character a word always ends: none holds both, and the pattern does not look back.
_LINE_ENDS = re.compile(r"(?<=[!-~])(?=\n)")
_KEPT_CHARACTERS = 1_000_000  # some 100,000 words, 20 MB; then it is emptied; a larger cache is not faster


class WordCache:
    """Caches the ids of words.

    Args:
        tokenizer: splits text by GPT-2's pattern, and nothing else: `splits_like_gpt2`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}
        self._characters = 0

    def encode(self, text: str) -> list[int]:
        """The ids that the tokenizer returns for `text`; lines that are not ASCII are passed to it."""
        if text.isascii():
            return self._encode_ascii(text)
        ids: list[int] = []
        for ascii_only, lines in itertools.groupby(_LINE_ENDS.split(text), str.isascii):
            run = "".join(lines)
            ids.extend(self._encode_ascii(run) if ascii_only else self._tokenizer.encode(run, add_special_tokens=False).ids)
        return ids

    def _encode_ascii(self, text: str) -> list[int]:
        words, known = _WORDS.findall(text), self._known
        try:
            return list(itertools.chain.from_iterable(map(known.__getitem__, words)))
        except KeyError:
            known = self._learn(words)
        return list(itertools.chain.from_iterable(map(known.__getitem__, words)))

    def _learn(self, words: list[str]) -> dict[str, tuple[int, ...]]:
        """The cache with all of `words`. A full cache is replaced, not emptied: other threads may be reading it."""
        if self._characters > _KEPT_CHARACTERS:
            self._known, self._characters = {}, 0
        known = self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        for word, encoding in zip(new, self._tokenizer.encode_batch_fast(new, add_special_tokens=False), strict=True):
            known[word] = tuple(encoding.ids)
        self._characters += sum(map(len, new))
        return known


def splits_like_gpt2(tokenizer: dict[str, Any]) -> bool:
    """Whether a `tokenizer.json` splits text by GPT-2's pattern into words that are encoded independently."""
    if any(tokenizer.get(part) is not None for part in ("normalizer", "post_processor", "truncation")) or tokenizer["model"].get("dropout"):
        return False
    split = tokenizer.get("pre_tokenizer") or {}
    return [split.get(part) for part in ("type", "add_prefix_space", "use_regex")] == ["ByteLevel", False, True]
