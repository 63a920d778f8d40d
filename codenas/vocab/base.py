"""The interface of vocabularies: any bytes round-trip, and text never encodes to a special token."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

END_OF_TEXT = "<|endoftext|>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = "<fim_prefix>", "<fim_suffix>", "<fim_middle>"
# Exactly the names that editor clients use by default; their order defines their ids.
SPECIAL_TOKENS = (END_OF_TEXT, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, "<file_sep>", "<repo_name>")

_ESCAPED_BYTES = re.compile("([\udc80-\udcff]+)")


class Vocabulary(Protocol):
    """Text to ids and back. `tests/contracts/test_vocabularies.py` runs over every implementation."""

    @property
    def size(self) -> int:
        """The number of ids, special tokens included."""

    @property
    def specials(self) -> Mapping[str, int]:
        """The id of each special token; `encode` never returns one of them."""

    @property
    def bytes_per_token(self) -> npt.NDArray[np.int64]:
        """The number of bytes of each token, shape [size]; 0 for special tokens."""

    @property
    def digest(self) -> str:
        """SHA-256 of the content, the same in every process."""

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of `text`; a special token's name inside the text is plain text."""

    def decode(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`; special tokens have none."""

    def save(self, path: Path) -> None:
        """Write one JSON file that `load_vocabulary` reads."""


def utf8_runs(text: str | bytes) -> Iterator[str | bytes]:
    """Cut `text` into runs of valid UTF-8 (as `str`) and of invalid bytes (as `bytes`), in order, in linear time.

    A lone surrogate in a `str` has no UTF-8; it becomes the three bytes of its generalised form.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # Invalid bytes decode to U+DC80..U+DCFF, which no valid UTF-8 decodes to.
    for number, run in enumerate(_ESCAPED_BYTES.split(data.decode("utf-8", "surrogateescape"))):
        if run:
            yield run.encode("utf-8", "surrogateescape") if number % 2 else run


def digest_of(content: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
