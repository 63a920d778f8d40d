"""A prompt on its way to becoming a completion."""

from dataclasses import dataclass
from typing import Literal

from codenas.decode.sampling import SamplingParams
from codenas.vocab import END_OF_TEXT, Vocabulary

FinishReason = Literal["stop", "length"]

ANSWER_SHARE = 4  # a prompt that is too long leaves a quarter of the context to the answer


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
    room = min(params.max_tokens, max(1, context_len // ANSWER_SHARE))
    kept = tuple(prompt[-(context_len - room) :]) or (vocabulary.specials[END_OF_TEXT],)
    answer = min(params.max_tokens, context_len - len(kept))
    ends = frozenset(vocabulary.specials.values())
    return Sequence(kept, params.model_copy(update={"max_tokens": answer}), ends, score_prompt)
