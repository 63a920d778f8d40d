"""Bits per byte: a measure of quality that is comparable between vocabularies.

Nats over the targets / (ln 2 x bytes of the targets). Special tokens have no bytes but cost nats. The windows are fixed:
consecutive ones would start with no context too, so a longer window scores better; `context_len` belongs to the figure.
"""

import contextlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from codenas.corpus import Tokens
from codenas.errors import CorpusError
from codenas.model import LanguageModel
from codenas.train.losses import cross_entropy

_BATCH = 16  # windows at once
_LOGITS = 1 << 26  # and logits at once: 16 windows of 1,024 tokens over 50,000 ids would be 3.3 GB


@dataclass(slots=True, frozen=True)
class BitsPerByte:
    """The score, and the tokens and bytes that it was measured on."""

    bits_per_byte: float
    tokens: int
    bytes: int


@torch.no_grad()
def bits_per_byte(
    model: LanguageModel,
    tokens: Tokens,
    bytes_per_token: npt.NDArray[np.int64],
    max_tokens: int | None = None,
    precision: str = "float32",
) -> BitsPerByte:
    """Score `model` on windows of its context length, spread evenly over `tokens`; all of them if `max_tokens` is None.

    Raises:
        CorpusError: the split has not even one window, or the targets have no bytes.
    """
    starts = window_starts(len(tokens), model.arch.context_len, max_tokens)
    nats, size, targets = 0.0, 0, 0
    reduced = torch.autocast(model.device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
    model.eval()
    batch_size = max(1, min(_BATCH, _LOGITS // (model.arch.context_len * len(bytes_per_token))))
    for first in range(0, len(starts), batch_size):
        rows = np.stack([tokens.read(start, start + model.arch.context_len + 1) for start in starts[first : first + batch_size]])
        batch = torch.from_numpy(rows).to(model.device)
        with reduced:
            logits = model(batch[:, :-1])
        nats += cross_entropy(logits, batch[:, 1:]).item() * batch[:, 1:].numel()
        size += int(bytes_per_token[rows[:, 1:]].sum())
        targets += batch[:, 1:].numel()
    if size == 0:
        raise CorpusError(f"all of {targets} held-out targets are special tokens: there is no text to score; prepare another source")
    return BitsPerByte(nats / math.log(2) / size, targets, size)


def window_starts(length: int, context_len: int, max_tokens: int | None) -> list[int]:
    """The starts of the windows that `bits_per_byte` scores."""
    windows = (length - 1) // context_len
    if windows < 1:
        raise CorpusError(f"{length} held-out tokens are too few for one window of {context_len + 1}; prepare more source or hold out more")
    wanted = windows if max_tokens is None else min(windows, max(1, max_tokens // context_len))
    return [index * windows // wanted * context_len for index in range(wanted)]
