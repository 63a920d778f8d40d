"""The manifest of a corpus: its content, its source, and what was left out and why."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dtype = Literal["uint16", "uint32"]

CARD, _EARLIER_CARD = "corpus.json", "manifest.json"


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Card):
    """A number of documents and their size in bytes."""

    documents: int = Field(ge=0)
    bytes: int = Field(ge=0)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


class Redacted(_Card):
    """The number of replaced values of a kind, and of documents with one."""

    values: int = Field(ge=0)
    documents: int = Field(ge=0)


class ShardInfo(_Card):
    """One file of tokens: its path relative to the corpus, its number of tokens and its SHA-256."""

    file: str
    tokens: int = Field(gt=0)
    sha256: str


class SplitInfo(_Card):
    """One split. `bytes` is the size of its text; `tokens` includes the end-of-text ids."""

    tokens: int = Field(ge=0)
    bytes: int = Field(ge=0)
    documents: int = Field(ge=0)
    repositories: int = Field(ge=0)
    shards: tuple[ShardInfo, ...]

    @model_validator(mode="after")
    def _shards_add_up(self) -> Self:
        held = sum(shard.tokens for shard in self.shards)
        if held != self.tokens:
            raise ValueError(f"the shards hold {held} tokens, the split says {self.tokens}")
        return self


class Portion(_Card):
    """The documents of one language in a split."""

    documents: int = Field(ge=0)
    bytes: int = Field(ge=0)
    tokens: int = Field(ge=0)


class Figures(_Card):
    """Statistics of the documents of a split.

    Attributes:
        languages: by language, as the source names them; the largest first.
        sizes: histogram; item n counts the documents of 2^(n-1) to 2^n - 1 bytes, item 0 the empty ones.
        lengths: the same in tokens, the end-of-text id included.
    """

    languages: dict[str, Portion]
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]


class SourceSize(_Card):
    """The size of the source; `digest` is the SHA-256 over its row groups."""

    files: int = Field(ge=0)
    row_groups: int = Field(ge=0)
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0, description="compressed, as it is stored")
    digest: str


class CorpusManifest(_Card):
    """`corpus.json`. It has no times and no absolute paths: the same input gives the same bytes.

    Attributes:
        digest: of the content (vocabulary, splits, shards): equal digests mean equal training data.
        config_digest: of the settings: with equal settings there is nothing to do.
        settings_digest: of the settings without the content of a list of packages. None if an earlier version prepared the corpus.
        end_of_text: the id that ends every document.
        stages: documents kept by each stage, in order.
        drops: dropped documents, by reason.
        licences: documents kept, by licence.
        redacted: values replaced in the documents kept (addresses, keys), by kind; "all" is their sum.
        bad_rows: rows that could not be read or processed; `quarantine.jsonl` has their places and reasons.
        held: the size of the source.
        figures: statistics of each split. Missing, as the two before, if an earlier version prepared the corpus.
    """

    schema_version: Literal[1] = 1
    digest: str
    config_digest: str
    vocab_digest: str
    vocab_size: int = Field(gt=0)
    dtype: Dtype
    end_of_text: int = Field(ge=0)
    splits: dict[str, SplitInfo]
    source: str
    stages: dict[str, Tally]
    drops: dict[str, Tally]
    licences: dict[str, Tally]
    redacted: dict[str, Redacted] = {}
    settings_digest: str | None = None
    bad_rows: int | None = Field(None, ge=0)
    held: SourceSize | None = None
    figures: dict[str, Figures] = {}

    @model_validator(mode="after")
    def _digest_is_of_this_content(self) -> Self:
        expected = content_digest(self.vocab_digest, self.dtype, self.splits)
        if self.digest != expected:
            raise ValueError(f"the digest {self.digest[:12]} does not match the content ({expected[:12]})")
        return self


def content_digest(vocab_digest: str, dtype: Dtype, splits: Mapping[str, SplitInfo]) -> str:
    """SHA-256 over the vocabulary, the splits and the hashes of their shards."""
    content = {"vocab": vocab_digest, "dtype": dtype, "splits": {name: split.model_dump(mode="json") for name, split in splits.items()}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dtype_for(vocab_size: int) -> Dtype:
    """The smallest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def card_of(folder: Path) -> Path | None:
    """The manifest file of the corpus in `folder`, also under its earlier name; None if there is no corpus."""
    return next((folder / name for name in (CARD, _EARLIER_CARD) if (folder / name).is_file()), None)
