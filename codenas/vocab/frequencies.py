"""Token frequencies of a vocabulary on texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from codenas.vocab.base import Vocabulary
from codenas.vocab.sampling.pieces import Ids, letters_of

_BATCH = 256  # texts that are encoded at once


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenUse(_Part):
    """One token: its text in byte letters, its count and its share of all tokens."""

    id: int
    token: str
    bytes: int
    count: int
    share: float
    languages: dict[str, int]


class LanguageUse(_Part):
    """The texts of one language, or of all: `unused` is the number of ids that do not occur, without special tokens."""

    documents: int
    bytes: int
    tokens: int
    bytes_per_token: float | None
    unused: int


class FrequencyTable(_Part):
    """The file of token frequencies; the most frequent token is first."""

    schema_version: Literal[1] = 1
    vocab_digest: str
    vocab_size: int
    source: str
    total: LanguageUse
    languages: dict[str, LanguageUse]
    tokens: tuple[TokenUse, ...]


@dataclass(slots=True)
class Frequencies:
    """Token counts of some texts.

    Attributes:
        counts: of each id; shape [vocabulary.size].
    """

    documents: int
    counts: Ids

    def add(self, other: "Frequencies") -> None:
        """Add the counts of other texts."""
        self.documents += other.documents
        self.counts = self.counts + other.counts


def count_tokens(vocabulary: Vocabulary, texts: Sequence[str]) -> Iterator[Frequencies]:
    """Encode `texts` in batches; yields the counts of each batch."""
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        ids = [np.array(vocabulary.encode(text), np.int64) for text in batch]
        yield Frequencies(len(batch), np.bincount(np.concatenate(ids), minlength=vocabulary.size))


def use_of(vocabulary: Vocabulary, frequencies: Frequencies) -> LanguageUse:
    """The statistics of `frequencies`; every byte of a text is in exactly one token."""
    tokens, size = int(frequencies.counts.sum()), int((frequencies.counts * vocabulary.bytes_per_token).sum())
    unused = int((frequencies.counts == 0).sum()) - len(vocabulary.specials)
    return LanguageUse(
        documents=frequencies.documents, bytes=size, tokens=tokens, bytes_per_token=size / tokens if tokens else None, unused=unused
    )


def frequency_table(vocabulary: Vocabulary, source: str, languages: Mapping[str, Frequencies]) -> FrequencyTable:
    """The table of all tokens."""
    together = Frequencies(sum(each.documents for each in languages.values()), sum_of(languages))
    total = use_of(vocabulary, together)
    sizes, names = vocabulary.bytes_per_token, token_names(vocabulary)
    order = np.lexsort((np.arange(vocabulary.size), -together.counts))
    return FrequencyTable(
        vocab_digest=vocabulary.digest,
        vocab_size=vocabulary.size,
        source=source,
        total=total,
        languages={language: use_of(vocabulary, each) for language, each in languages.items()},
        tokens=tuple(
            TokenUse(
                id=index,
                token=names[index],
                bytes=int(sizes[index]),
                count=int(together.counts[index]),
                share=int(together.counts[index]) / max(total.tokens, 1),
                languages={language: int(each.counts[index]) for language, each in languages.items() if each.counts[index]},
            )
            for index in order.tolist()
        ),
    )


def sum_of(languages: Mapping[str, Frequencies]) -> Ids:
    """The counts of all languages together, shape [vocabulary.size]."""
    return np.sum([each.counts for each in languages.values()], axis=0, dtype=np.int64)


def token_names(vocabulary: Vocabulary) -> list[str]:
    """The text of each id in byte letters; special tokens by their names."""
    special = {index: name for name, index in vocabulary.specials.items()}
    return [special.get(index) or letters_of(vocabulary.decode([index])) for index in range(vocabulary.size)]
