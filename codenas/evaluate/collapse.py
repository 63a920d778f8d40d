"""Degeneration of completions: the model compared with the human reference, at the same length.

The measure, over the tokens and the text of one completion; it is collapsed if any of these holds:
- it has no text but white space;
- seq-rep-4 (Welleck et al. 2019, the share of 4-grams that occurred before) is over 0.5;
- one token is repeated more than 16 times in a row;
- one line is repeated more than 8 times in a row, blank lines left out.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

from codenas.evaluate.prompts import Decode, Document, Prompt, pick_prompts
from codenas.evaluate.python_source import continuation_parses

Generate = Callable[[list[int], int], list[int]]


class CollapseLimits(BaseModel):
    """A completion above any of these is collapsed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq_rep_4: float = 0.5
    token_run: int = 16
    line_run: int = 8


class CompletionFigures(BaseModel):
    """Metrics over all completions of the model, or all human references; runs and seq-rep-4 are means, `parse_rate` is in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    collapsed: int = Field(ge=0)
    seq_rep_4: float = Field(ge=0, le=1)
    longest_token_run: NonNegativeFloat
    longest_line_run: NonNegativeFloat
    parse_rate: float = Field(ge=0, le=1)


class CollapseReport(BaseModel):
    """The model and the human continuation of the same prompts, side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    prompts: int = Field(gt=0)
    temperature: NonNegativeFloat
    completion_tokens: int = Field(gt=0)
    limits: CollapseLimits
    model: CompletionFigures
    human: CompletionFigures

    @property
    def collapsed(self) -> int:
        """Collapsed completions of the model."""
        return self.model.collapsed


def seq_rep_4(tokens: Sequence[Hashable]) -> float:
    """1 - unique 4-grams / 4-grams, in [0, 1); 0 where there are fewer than four tokens."""
    grams = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def longest_run(items: Iterable[Hashable]) -> int:
    """The length of the longest run of one item; 0 for nothing."""
    return max((sum(1 for _ in run) for _, run in groupby(items)), default=0)


def longest_line_run(text: str) -> int:
    """The longest run of one line. Blank lines are left out, so that they do not hide a line that alternates with them."""
    return longest_run(line.rstrip() for line in text.splitlines() if line.strip())


def is_collapsed(tokens: Sequence[int], text: str, limits: CollapseLimits | None = None) -> bool:
    """Whether a completion has degenerated, by the measure of this module."""
    limits = limits or CollapseLimits()
    return (
        not text.strip()
        or seq_rep_4(tokens) > limits.seq_rep_4
        or longest_run(tokens) > limits.token_run
        or longest_line_run(text) > limits.line_run
    )


def completion_quality(
    generate: Generate,
    decode: Decode,
    documents: Iterable[Document],
    *,
    temperature: float,
    prompts: int = 20,
    prompt_tokens: int = 128,
    completion_tokens: int = 128,
    seed: int = 0,
    limits: CollapseLimits | None = None,
) -> CollapseReport:
    """Complete prompts from held-out documents and compare the completions with the human reference.

    Args:
        generate: (prompt ids, most new tokens) -> new ids, without the prompt and without the end-of-text id.
        decode: ids -> bytes.
        documents: ids of each held-out document, from repositories outside the training split.
        temperature: the one that `generate` samples with; recorded, not used.

    Raises:
        CorpusError: too few of the documents are long enough.
    """
    limits = limits or CollapseLimits()
    picked = pick_prompts(documents, decode, prompts, prompt_tokens, completion_tokens, seed)
    generated = [[int(token) for token in generate(prompt.tokens, completion_tokens)] for prompt in picked]
    # Repetition grows with length: the human reference is truncated to the length of the completion.
    human = [prompt.human[: len(completion) or None] for prompt, completion in zip(picked, generated, strict=True)]
    return CollapseReport(
        prompts=len(picked),
        temperature=temperature,
        completion_tokens=completion_tokens,
        limits=limits,
        model=_figures(picked, generated, decode, limits),
        human=_figures(picked, human, decode, limits),
    )


def _figures(prompts: Sequence[Prompt], completions: Sequence[list[int]], decode: Decode, limits: CollapseLimits) -> CompletionFigures:
    texts = [decode(completion).decode(errors="replace") for completion in completions]
    heads = [decode(prompt.head).decode(errors="replace") for prompt in prompts]
    return CompletionFigures(
        collapsed=sum(is_collapsed(tokens, text, limits) for tokens, text in zip(completions, texts, strict=True)),
        seq_rep_4=fmean(seq_rep_4(tokens) for tokens in completions),
        longest_token_run=fmean(longest_run(tokens) for tokens in completions),
        longest_line_run=fmean(longest_line_run(text) for text in texts),
        parse_rate=fmean(continuation_parses(head, text) for head, text in zip(heads, texts, strict=True)),
    )
