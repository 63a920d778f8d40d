"""What a search proposes: an architecture, its vocabulary, and the storage and pruning of its weights."""

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
    """The size of the vocabulary called `bpe-N`."""
    return int(name.removeprefix("bpe-"))


VocabularyName = Annotated[str, AfterValidator(_known)]


class Design(Spec):
    """An architecture, its vocabulary, and how its weights are stored.

    Attributes:
        arch: the trained architecture.
        vocabulary: `char`, or `bpe-N`, a byte-level BPE of N ids; None is that of the corpus.
        storage: precision of the stored weights; training uses float32.
        pruning: share of the feed-forward's hidden channels that are removed from the stored weights.
    """

    arch: ArchSpec
    vocabulary: VocabularyName | None = None
    storage: Storage = "float16"
    pruning: float = Field(0.0, ge=0, lt=1)

    @property
    def vocab_size(self) -> int | None:
        """Size of its vocabulary; None where it depends on the text or the corpus."""
        return None if self.vocabulary in (None, "char") else bpe_size(self.vocabulary)

    @property
    def stored_arch(self) -> ArchSpec:
        """The architecture of the stored weights: the trained one without the pruned hidden channels, in multiples of `HIDDEN_MULTIPLE`."""
        d_model, feedforward = self.arch.d_model, self.arch.feedforward
        hidden = feedforward.hidden_width(d_model)
        kept = max(HIDDEN_MULTIPLE, round((1 - self.pruning) * hidden / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE)
        if kept == hidden:
            return self.arch
        return self.arch.model_copy(update={"feedforward": feedforward.model_copy(update={"multiplier": kept / d_model})})
