"""Prompts from held-out documents: the same for every model, each with its human reference."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codenas.errors import CorpusError
from codenas.seeds import stream

Document = Sequence[int] | npt.NDArray[np.int64]
Decode = Callable[[Sequence[int]], bytes]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A document cut in two: `head` is everything before the cut, `tokens` the end of it (the prompt), `human` what follows the cut."""

    head: list[int]
    tokens: list[int]
    human: list[int]


def pick_prompts(
    documents: Iterable[Document], decode: Decode, prompts: int, prompt_tokens: int, completion_tokens: int, seed: int
) -> list[Prompt]:
    """Draw `prompts` documents and cut each at the first line end after its middle; one prompt per document.

    A document must hold `prompt_tokens` before the cut and `completion_tokens` after it. The draw is a function of the
    documents and the seed alone; the documents are read once, and no more than `prompts` of them are kept.

    Raises:
        CorpusError: too few of the documents are long enough.
    """
    draw = stream(seed, "prompts")
    cuts = (cut for document in documents if (cut := _cut(document, decode, prompt_tokens, completion_tokens)))
    picked = heapq.nsmallest(prompts, ((draw.random(), number, cut) for number, cut in enumerate(cuts)))
    if len(picked) < prompts:
        needed = 2 * max(prompt_tokens, completion_tokens)
        raise CorpusError(
            f"{len(picked)} held-out documents have {needed} tokens and a line end to cut at, {prompts} prompts need {prompts}; "
            "ask for fewer or shorter prompts, or prepare a larger corpus"
        )
    return [cut for _, _, cut in picked]


def _cut(document: Document, decode: Decode, before: int, after: int) -> Prompt | None:
    if len(document) < 2 * max(before, after):
        return None
    for position in range((len(document) + 1) // 2, len(document) - after + 1):
        if _ends_line(decode([int(document[position - 1])])):
            ids = [int(token) for token in document]
            return Prompt(ids[:position], ids[position - before : position], ids[position : position + after])
    return None


def _ends_line(token: bytes) -> bool:
    """Whether a line ends within the token; a vocabulary may merge the line end with the indentation that follows."""
    _, line_end, rest = token.rpartition(b"\n")
    return bool(line_end) and not rest.strip()
