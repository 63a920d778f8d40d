"""A request to the decoder: prompt, sampling parameters and stop tokens, fitted to the context."""

from dataclasses import dataclass
from typing import Literal

from codenas.decode.sampling import SamplingParams
from codenas.vocab import END_OF_TEXT, Vocabulary, infill_prompt

FinishReason = Literal["stop", "length"]

COMPLETION_DIVISOR = 4  # a prompt that is too long leaves 1/4 of the context to the completion
STRIDE_DIVISOR = 8  # what is too long is cut in steps of 1/8 of the room: the next keystroke finds the same beginning in the prefix cache
SUFFIX_DIVISOR = 4  # if prefix and suffix do not both fit, the suffix gets 1/4 of their room


@dataclass(slots=True, frozen=True)
class Sequence:
    """A prompt with its sampling parameters, as token ids.

    Attributes:
        stop_token_ids: generation ends at one of these tokens, which is not part of the completion.
        prompt_logprobs: also compute the log-probability of every token of the prompt.
    """

    prompt: tuple[int, ...]
    params: SamplingParams
    stop_token_ids: frozenset[int]
    prompt_logprobs: bool = False


def fit_to_context(
    prompt: list[int], params: SamplingParams, vocabulary: Vocabulary, context_len: int, prompt_logprobs: bool = False
) -> Sequence:
    """The sequence that fits `context_len`: prompt and completion together have at most that many tokens.

    The end of a prompt matters most in code, so a prompt that is too long is truncated on the *left* (`truncation`). It leaves room for
    `max_tokens`, but at most a quarter of the context; then `max_tokens` is reduced to the room there is. An empty prompt
    is the start of a document. Every special token is a stop token.
    """
    kept = tuple(prompt[truncation(len(prompt), prompt_room(params, context_len)) :]) or (vocabulary.specials[END_OF_TEXT],)
    max_tokens = min(params.max_tokens, context_len - len(kept))
    stop_token_ids = frozenset(vocabulary.specials.values())
    return Sequence(kept, params.model_copy(update={"max_tokens": max_tokens}), stop_token_ids, prompt_logprobs)


def fit_infill_to_context(
    prefix: list[int],
    suffix: list[int],
    params: SamplingParams,
    vocabulary: Vocabulary,
    context_len: int,
    suffix_first: bool = False,
) -> Sequence:
    """The sequence whose completion belongs between `prefix` and `suffix`, for a model trained to fill in the middle.

    With `suffix_first` (SPM) a prefix that grows leaves the beginning of the prompt as it is, and the prefix cache holds it.

    Text near the gap matters most: the prefix is truncated on the left, the suffix on the right, and what one of
    them does not need of its share goes to the other. `max_tokens` is limited as in `fit_to_context`.

    Raises:
        ValueError: the context has no room for the sentinel tokens.
    """
    empty = infill_prompt(vocabulary, (), ())
    room = prompt_room(params, context_len) - len(empty)
    if room < 0:
        raise ValueError(f"a context of {context_len} tokens has no room for the {len(empty)} tokens that mark a gap")
    after = suffix[: max(room // SUFFIX_DIVISOR, room - len(prefix))]
    before = prefix[truncation(len(prefix), room - len(after)) :]
    return fit_to_context(infill_prompt(vocabulary, before, after, suffix_first), params, vocabulary, context_len)


def truncation(length: int, room: int) -> int:
    """Where a text of `length` is cut on the left so that it fits `room`: at multiples of a stride, so not at each token anew."""
    stride = max(1, room // STRIDE_DIVISOR)
    return min(length, -(-max(0, length - room) // stride) * stride)


def prompt_room(params: SamplingParams, context_len: int) -> int:
    """The largest number of prompt tokens."""
    return context_len - min(params.max_tokens, max(1, context_len // COMPLETION_DIVISOR))
