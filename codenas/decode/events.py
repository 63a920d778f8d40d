"""What a step of the engine reports, and what the engine counts."""

from dataclasses import dataclass

from codenas.decode.sampling import TokenLogprobs
from codenas.decode.sequence import FinishReason


@dataclass(slots=True, frozen=True)
class Produced:
    """Sequence `id` has generated tokens: one, or more where drafted ones were accepted; with `logprobs` if it asked for them."""

    id: int
    tokens: list[int]
    logprobs: list[TokenLogprobs]


@dataclass(slots=True, frozen=True)
class PromptScored:
    """Log-probabilities of the prompt tokens of sequence `id`; None for the first token, which has no predecessor."""

    id: int
    logprobs: list[TokenLogprobs | None]


@dataclass(slots=True, frozen=True)
class Finished:
    """Sequence `id` is complete."""

    id: int
    reason: FinishReason


@dataclass(slots=True, frozen=True)
class Failed:
    """Sequence `id` failed; the others continue."""

    id: int
    reason: str


Event = Produced | PromptScored | Finished | Failed


@dataclass(slots=True)
class Statistics:
    """Counts since the engine was made.

    Attributes:
        prompt_tokens: of the sequences that were started.
        cached_tokens: of these, those whose state was taken from the prefix cache or copied from a sequence with the same prompt.
        generated_tokens: sampled, without stop tokens.
        computed_tokens: that went through a forward pass: prompts, generated tokens, drafts, and what was computed again.
        drafted_tokens, accepted_tokens: proposed by drafting, and of these those that were sampled.
        forwards: forward passes.
        preemptions: sequences that gave up their state for others.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    forwards: int = 0
    preemptions: int = 0
