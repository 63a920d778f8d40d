"""From what a client asks to what the decoder does."""

from codenas.decode import SamplingParams, Sequence, fit, fit_infill
from codenas.seeds import derive
from codenas.vocab import Vocabulary
from serve.errors import invalid
from serve.protocol import CompletionRequest

MARGIN_TOKENS = 64  # a text is cut before it is encoded, with some more than the context in front: the cut may split a token


class Translator:
    """Knows the vocabulary and the context of the model that is served, and whether it can fill in the middle."""

    def __init__(self, vocabulary: Vocabulary, context_len: int, infills: bool = False) -> None:
        self.vocabulary, self.context_len, self._infills = vocabulary, context_len, infills
        self._longest_prompt = (context_len + MARGIN_TOKENS) * int(vocabulary.bytes_per_token.max())

    def sequences(self, asked: CompletionRequest) -> list[Sequence]:
        """One sequence per choice: the first prompt's `n`, then the second's.

        Raises:
            ApiError: 400, with the field and the bound.
        """
        if any(token >= self.vocabulary.size for token in asked.logit_bias):
            raise invalid(f"logit_bias: token ids go from 0 to {self.vocabulary.size - 1}", "logit_bias")
        suffix, prompts = self._suffix(asked), [self._ids(prompt) for prompt in asked.prompt]
        return [self._sequence(asked, prompt, suffix, choice) for prompt in prompts for choice in range(asked.n)]

    def text(self, prompt: str | list[int]) -> str:
        """A prompt as text."""
        return prompt if isinstance(prompt, str) else self.vocabulary.decode(prompt).decode(errors="replace")

    def _ids(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.vocabulary.encode(prompt[-self._longest_prompt :])
        if prompt and not 0 <= min(prompt) <= max(prompt) < self.vocabulary.size:
            raise invalid(f"prompt: token ids go from 0 to {self.vocabulary.size - 1}", "prompt")
        return prompt

    def _suffix(self, asked: CompletionRequest) -> list[int]:
        """What stands behind the gap; nothing where there is none."""
        if not asked.suffix:
            return []
        if not self._infills:
            raise invalid("suffix: this model was not trained to fill in the middle; leave suffix out", "suffix")
        if asked.echo and asked.logprobs is not None:
            raise invalid("suffix: a prompt with a suffix is not scored; leave out suffix, echo or logprobs", "suffix")
        return self.vocabulary.encode(asked.suffix[: self._longest_prompt])

    def _sequence(self, asked: CompletionRequest, prompt: list[int], suffix: list[int], choice: int) -> Sequence:
        if suffix:
            return self._gap(prompt, suffix, _params(asked, choice))
        score_prompt = asked.echo and asked.logprobs is not None and len(prompt) > 0
        sequence = fit(prompt, _params(asked, choice), self.vocabulary, self.context_len, score_prompt)
        if score_prompt and len(prompt) > len(sequence.prompt):
            room = f"{len(sequence.prompt)} tokens beside {sequence.params.max_tokens} of answer"
            raise invalid(f"prompt: it is longer than what can be scored, {room}", "prompt")
        return sequence

    def _gap(self, prefix: list[int], suffix: list[int], params: SamplingParams) -> Sequence:
        try:
            return fit_infill(prefix, suffix, params, self.vocabulary, self.context_len)
        except ValueError as error:
            raise invalid(f"suffix: {error}; leave suffix out", "suffix") from error


def _params(asked: CompletionRequest, choice: int) -> SamplingParams:
    """Every choice has a seed of its own, the first one the seed that was asked for."""
    seed = asked.seed if asked.seed is None or choice == 0 else derive(asked.seed, "choice", choice)
    return SamplingParams(
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k if asked.top_k is not None and asked.top_k > 0 else None,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logit_bias=asked.logit_bias,
        stop=tuple(asked.stop),
        seed=seed,
        logprobs=asked.logprobs,
    )
