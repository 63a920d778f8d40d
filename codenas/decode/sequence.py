"""A prompt on its way to becoming a completion."""

from dataclasses import dataclass
from typing import Literal

from codenas.decode.sampling import SamplingParams
from codenas.vocab import END_OF_TEXT, Vocabulary, infill_prompt

FinishReason = Literal["stop", "length"]

ANSWER_SHARE = 4  # a prompt that is too long leaves a quarter of the context to the answer
SUFFIX_SHARE = 4  # where prefix and suffix do not both fit, a quarter of their room is the suffix's


@dataclass(slots=True, frozen=True)
class Sequence:
    """What to continue and how. A text is over at a token of `ends`, which is not part of it.

    `score_prompt` asks for what the model thought of every token of the prompt.
    """

    prompt: tuple[int, ...]
    params: SamplingParams
    ends: frozenset[int]
    score_prompt: bool = False


def fit(prompt: list[int], params: SamplingParams, vocabulary: Vocabulary, context_len: int, score_prompt: bool = False) -> Sequence:
    """The sequence that fits `context_len`: prompt and answer together are at most that many tokens.

    The end of a prompt is what counts in code, so a prompt that is too long loses its *beginning*. It leaves room for
    `max_tokens`, but for no more than a quarter of the context; then `max_tokens` is cut to the room there is. An empty
    prompt is the beginning of a document. No special token is text: each of them ends one.
    """
    kept = tuple(prompt[-_prompt_room(params, context_len) :]) or (vocabulary.specials[END_OF_TEXT],)
    answer = min(params.max_tokens, context_len - len(kept))
    ends = frozenset(vocabulary.specials.values())
    return Sequence(kept, params.model_copy(update={"max_tokens": answer}), ends, score_prompt)


def fit_infill(prefix: list[int], suffix: list[int], params: SamplingParams, vocabulary: Vocabulary, context_len: int) -> Sequence:
    """The sequence whose answer belongs between `prefix` and `suffix`, for a model that was taught to fill in the middle.

    What is near the gap counts: the prefix loses its beginning, the suffix its end, and what one of them leaves of its share is
    the other's. The answer gets the room that `fit` gives it.

    Raises:
        ValueError: the context has no room for the sentinels.
    """
    empty = infill_prompt(vocabulary, (), ())
    room = _prompt_room(params, context_len) - len(empty)
    if room < 0:
        raise ValueError(f"a context of {context_len} tokens has no room for the {len(empty)} tokens that mark a gap")
    after = suffix[: max(room // SUFFIX_SHARE, room - len(prefix))]
    before = prefix[max(0, len(prefix) + len(after) - room) :]
    return fit(infill_prompt(vocabulary, before, after), params, vocabulary, context_len)


def _prompt_room(params: SamplingParams, context_len: int) -> int:
    """Tokens that a prompt may have."""
    return context_len - min(params.max_tokens, max(1, context_len // ANSWER_SHARE))
