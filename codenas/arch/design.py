"""What a search proposes: an architecture to train, the vocabulary that it reads, and how what it has learned is stored."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from codenas.arch.part import Spec
from codenas.arch.spec import HIDDEN_MULTIPLE, ArchSpec
from codenas.arch.storage import Storage


def _known(name: str) -> str:
    if re.fullmatch(r"char|bpe-[1-9][0-9]{2,6}", name) is None:
        raise ValueError(f"{name!r} names no vocabulary; write char, or bpe-N for a byte-level BPE of N ids")
    return name


def bpe_size(name: str) -> int:
    """The ids of the vocabulary called `bpe-N`."""
    return int(name.removeprefix("bpe-"))


VocabularyName = Annotated[str, AfterValidator(_known)]


class Design(Spec):
    """An architecture and what is decided beside it.

    Attributes:
        arch: what is trained.
        vocabulary: `char`, or `bpe-N`, a byte-level BPE of N ids; None is the corpus's own.
        storage: of the stored weights; training keeps float32.
        pruning: share of the feed-forward's hidden channels that the stored weights lack.
    """

    arch: ArchSpec
    vocabulary: VocabularyName | None = None
    storage: Storage = "float16"
    pruning: float = Field(0.0, ge=0, lt=1)

    @property
    def vocab_size(self) -> int | None:
        """Ids of its vocabulary; None where the text decides how many, or the corpus."""
        return None if self.vocabulary in (None, "char") else bpe_size(self.vocabulary)

    @property
    def stored_arch(self) -> ArchSpec:
        """The architecture of the stored weights: as trained, but for the hidden channels that were cut, in whole multiples."""
        d_model, feedforward = self.arch.d_model, self.arch.feedforward
        hidden = feedforward.hidden_width(d_model)
        kept = max(HIDDEN_MULTIPLE, round((1 - self.pruning) * hidden / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE)
        if kept == hidden:
            return self.arch
        return self.arch.model_copy(update={"feedforward": feedforward.model_copy(update={"multiplier": kept / d_model})})
