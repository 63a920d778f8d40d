"""Encodes requests as sequences for the decoder."""

from codenas.decode import SamplingParams, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.sequence import prompt_room, truncation
from codenas.seeds import derive
from codenas.vocab import Vocabulary
from serve.errors import invalid
from serve.protocol import CompletionRequest

MARGIN_TOKENS = 64  # long texts are truncated before encoding; the margin covers a token that the cut splits


class RequestEncoder:
    """Encodes requests for one model: its vocabulary, its context, and whether it can fill in the middle, suffix first."""

    def __init__(self, vocabulary: Vocabulary, context_len: int, infills: bool = False, suffix_first: bool = False) -> None:
        self.vocabulary, self.context_len, self._infills, self._suffix_first = vocabulary, context_len, infills, suffix_first
        self._longest_prompt = (context_len + MARGIN_TOKENS) * int(vocabulary.bytes_per_token.max())

    def sequences(self, request: CompletionRequest) -> list[Sequence]:
        """One sequence per choice: the first prompt's `n`, then the second's.

        Raises:
            ApiError: 400, with the field and the bound.
        """
        if any(token >= self.vocabulary.size for token in request.logit_bias):
            raise invalid(f"logit_bias: token ids go from 0 to {self.vocabulary.size - 1}", "logit_bias")
        suffix, prompts = self._suffix(request), [self._ids(prompt) for prompt in request.prompt]
        return [self._sequence(request, prompt, suffix, choice) for prompt in prompts for choice in range(request.n)]

    def text(self, prompt: str | list[int]) -> str:
        """A prompt as text."""
        return prompt if isinstance(prompt, str) else self.vocabulary.decode(prompt).decode(errors="replace")

    def _ids(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.vocabulary.encode(prompt[truncation(len(prompt), self._longest_prompt) :])
        if prompt and not 0 <= min(prompt) <= max(prompt) < self.vocabulary.size:
            raise invalid(f"prompt: token ids go from 0 to {self.vocabulary.size - 1}", "prompt")
        return prompt

    def _suffix(self, request: CompletionRequest) -> list[int]:
        """The suffix as tokens; empty without one."""
        if not request.suffix:
            return []
        if not self._infills:
            raise invalid("suffix: this model was not trained to fill in the middle; leave suffix out", "suffix")
        if request.echo and request.logprobs is not None:
            raise invalid("suffix: a prompt with a suffix is not scored; leave out suffix, echo or logprobs", "suffix")
        return self.vocabulary.encode(request.suffix[: self._longest_prompt])

    def _sequence(self, request: CompletionRequest, prompt: list[int], suffix: list[int], choice: int) -> Sequence:
        if suffix:
            return self._infill_sequence(prompt, suffix, _params(request, choice))
        prompt_logprobs = request.echo and request.logprobs is not None and len(prompt) > 0
        sequence = fit_to_context(prompt, _params(request, choice), self.vocabulary, self.context_len, prompt_logprobs)
        if prompt_logprobs and len(prompt) > len(sequence.prompt):
            longest = prompt_room(_params(request, choice), self.context_len)
            room = f"{longest} tokens of prompt and {self.context_len - longest} of completion"
            raise invalid(f"prompt: it is too long to be scored; the context has room for {room}", "prompt")
        return sequence

    def _infill_sequence(self, prefix: list[int], suffix: list[int], params: SamplingParams) -> Sequence:
        try:
            return fit_infill_to_context(prefix, suffix, params, self.vocabulary, self.context_len, self._suffix_first)
        except ValueError as error:
            raise invalid(f"suffix: {error}; leave suffix out", "suffix") from error


def _params(request: CompletionRequest, choice: int) -> SamplingParams:
    """Sampling parameters of one choice: each has its own seed, the first the one of the request."""
    seed = request.seed if request.seed is None or choice == 0 else derive(request.seed, "choice", choice)
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k if request.top_k is not None and request.top_k > 0 else None,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias,
        stop=tuple(request.stop),
        seed=seed,
        logprobs=request.logprobs,
    )
