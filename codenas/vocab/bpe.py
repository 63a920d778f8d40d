"""Byte-level BPE with GPT-2's pattern, stored as a `tokenizer.json`, so that exports need no conversion."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from codenas.errors import ConfigError, CorpusError
from codenas.files import write_atomic
from codenas.vocab.base import SPECIAL_TOKENS, digest_of, utf8_runs
from codenas.vocab.word_cache import WordCache, splits_like_gpt2

SMALLEST_SIZE = 256 + len(SPECIAL_TOKENS)


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte (openai/gpt-2, `src/encoder.py`, `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {value: chr(value) for value in printable}
    others = (value for value in range(256) if value not in letters)
    return letters | {value: chr(256 + index) for index, value in enumerate(others)}


class Bpe:
    """A trained byte-level BPE.

    Args:
        tokenizer: a BPE of the library `tokenizers` over byte letters, with our special tokens.

    Raises:
        CorpusError: a byte letter or a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Not stored in the file: without it the *text* "<|endoftext|>" in a source file becomes a control token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        missing = [token for token in (*SPECIAL_TOKENS, *byte_letters().values()) if token not in vocabulary]
        if missing:
            raise CorpusError(f"not a byte-level vocabulary of CodeNAS: {len(missing)} tokens are missing, the first is {missing[0]!r}")
        self._specials = {token: vocabulary[token] for token in SPECIAL_TOKENS}
        self._byte_ids = [vocabulary[letter] for _, letter in sorted(byte_letters().items())]
        self._bytes = _token_bytes(vocabulary, self._specials)
        content = json.loads(tokenizer.to_str())
        self._digest = digest_of(content)
        self._encode = WordCache(tokenizer).encode if splits_like_gpt2(content) else self._encode_whole

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "Bpe":
        """Train until there are `size` ids (fewer if the texts are too small); deterministic.

        The trainer keeps the counts of all distinct words in memory: give it a bounded sample.

        Raises:
            ConfigError: `size` has no room for the bytes and the special tokens.
        """
        if size < SMALLEST_SIZE:
            raise ConfigError(
                f"a vocabulary of {size} is too small: 256 bytes and {len(SPECIAL_TOKENS)} special tokens need {SMALLEST_SIZE}"
            )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False, max_token_length=32
        )
        valid = (run for text in texts for run in utf8_runs(text) if isinstance(run, str))
        tokenizer.train_from_iterator(valid, trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, content: str) -> "Bpe":
        """Read a `tokenizer.json`.

        Raises:
            CorpusError: it is broken, or not a byte-level BPE with our special tokens.
        """
        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the library raises plain Exception
            raise CorpusError(f"not a tokenizer.json: {error}") from None
        if not isinstance(tokenizer.model, models.BPE):
            raise CorpusError(f"a byte-level BPE is needed, this is a {type(tokenizer.model).__name__}")
        return cls(tokenizer)

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self._bytes)

    @property
    def specials(self) -> Mapping[str, int]:
        """The id of each special token."""
        return dict(self._specials)

    @property
    def bytes_per_token(self) -> npt.NDArray[np.int64]:
        """Bytes per id, shape [size]."""
        return np.array([len(piece) for piece in self._bytes], dtype=np.int64)

    @property
    def digest(self) -> str:
        """SHA-256 of the tokenizer's content."""
        return self._digest

    @property
    def merges(self) -> list[tuple[str, str]]:
        """Pairs of pieces in byte letters, the first to be merged first."""
        return [(left, right) for left, right in map(_pair, json.loads(self._tokenizer.to_str())["model"]["merges"])]

    def encode(self, text: str | bytes) -> list[int]:
        """Merged ids for valid UTF-8, one id per byte for what is not."""
        ids: list[int] = []
        for run in utf8_runs(text):
            if isinstance(run, bytes):
                ids.extend(self._byte_ids[value] for value in run)
            else:
                ids.extend(self._encode(run))
        return ids

    def _encode_whole(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`."""
        return b"".join(self._bytes[index] for index in ids)

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`."""
        write_atomic(path, self._tokenizer.to_str(pretty=True) + "\n")


def _pair(merge: str | list[str]) -> list[str]:
    """A merge as two pieces; older files write both in one string."""
    return merge.split(" ") if isinstance(merge, str) else merge


def _token_bytes(vocabulary: Mapping[str, int], specials: Mapping[str, int]) -> list[bytes]:
    """The bytes of each id; ids must run from 0 without a hole."""
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise CorpusError(f"the {len(vocabulary)} ids of the vocabulary do not run from 0 to {len(vocabulary) - 1}")
    values = {letter: value for value, letter in byte_letters().items()}
    pieces = [b""] * len(vocabulary)
    for token, index in vocabulary.items():
        if token in specials:
            continue
        try:
            pieces[index] = bytes(values[letter] for letter in token)
        except KeyError:
            raise CorpusError(f"token {index} ({token!r}) is not made of byte letters") from None
    return pieces
