"""A vocabulary of characters, the simple reference. Unknown characters are encoded as their UTF-8 bytes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.errors import CorpusError
from codenas.files import write_atomic
from codenas.vocab.base import SPECIAL_TOKENS, digest_of, utf8_runs

_FIRST_BYTE = len(SPECIAL_TOKENS)
_FIRST_CHARACTER = _FIRST_BYTE + 256


class CharFile(BaseModel):
    """The file format: the characters above ASCII, in the order of their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    kind: Literal["char"] = "char"
    characters: tuple[str, ...]


class Char:
    """Ids: the special tokens, the 256 bytes (an ASCII character is its byte), then the frequent other characters."""

    def __init__(self, characters: Iterable[str]) -> None:
        self._file = CharFile(characters=tuple(characters))
        self._ids = {character: _FIRST_CHARACTER + index for index, character in enumerate(self._file.characters)}
        single = [bytes([value]) for value in range(256)]
        self._bytes = [b""] * _FIRST_BYTE + single + [character.encode() for character in self._file.characters]

    @classmethod
    def train(cls, texts: Iterable[str], limit: int = 512) -> "Char":
        """Take the `limit` most frequent characters above ASCII in `texts`."""
        counts: Counter[str] = Counter()
        for text in texts:
            if not text.isascii():
                counts.update(character for run in utf8_runs(text) if isinstance(run, str) for character in run if character > "\x7f")
        frequent = sorted(counts, key=lambda character: (-counts[character], character))[:limit]
        return cls(sorted(frequent))

    @classmethod
    def load(cls, content: str) -> "Char":
        """Read what `save` wrote.

        Raises:
            CorpusError: the content is not a character vocabulary.
        """
        try:
            file = CharFile.model_validate_json(content)
        except ValidationError as error:
            raise CorpusError(f"not a character vocabulary: {error.errors()[0]['msg']}") from None
        if len(set(file.characters)) != len(file.characters) or any(len(c) != 1 or c.isascii() for c in file.characters):
            raise CorpusError("not a character vocabulary: its characters must be single, distinct and above ASCII")
        return cls(file.characters)

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self._bytes)

    @property
    def specials(self) -> Mapping[str, int]:
        """The id of each special token."""
        return {token: index for index, token in enumerate(SPECIAL_TOKENS)}

    @property
    def bytes_per_token(self) -> npt.NDArray[np.int64]:
        """Bytes per id, shape [size]."""
        return np.array([len(piece) for piece in self._bytes], dtype=np.int64)

    @property
    def digest(self) -> str:
        """SHA-256 of the characters and the special tokens."""
        return digest_of({"kind": "char", "specials": SPECIAL_TOKENS, "characters": self._file.characters})

    def encode(self, text: str | bytes) -> list[int]:
        """One id per known character, one per byte of the others."""
        ids: list[int] = []
        for run in utf8_runs(text):
            if isinstance(run, bytes):
                ids.extend(_FIRST_BYTE + value for value in run)
                continue
            for character in run:
                known = self._ids.get(character)
                ids.extend([known] if known is not None else (_FIRST_BYTE + value for value in character.encode()))
        return ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`."""
        return b"".join(self._bytes[index] for index in ids)

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        write_atomic(path, self._file.model_dump_json(indent=1) + "\n")
