"""Builds the response from what the engine generates: one object, or a stream of chunks."""

import time
import uuid
from collections.abc import AsyncIterator

from codenas.decode import TokenLogprobs
from codenas.vocab import Vocabulary
from serve.encode import RequestEncoder
from serve.engine_host import DecodingFailed, Delta, Generation
from serve.errors import internal
from serve.protocol import Choice, Completion, CompletionRequest, Logprobs, Usage

# Seconds between two chunks of a stream. For a small model, sending a chunk takes longer than decoding a token.
MIN_INTERVAL_S = 0.01


class CompletionResponse:
    """The response to one request while it is generated."""

    def __init__(self, request: CompletionRequest, generation: Generation, encoder: RequestEncoder, model_name: str) -> None:
        self._request, self._generation, self._model_name = request, generation, model_name
        self._id, self._created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self._completion_tokens = 0
        self._writers = [
            _ChoiceWriter(request, index, state.sequence.prompt, encoder.text(request.prompt[index // request.n]), encoder.vocabulary)
            for index, state in enumerate(generation.states)
        ]

    async def completion(self) -> Completion:
        """The complete response with all choices.

        Raises:
            ApiError: 500, a sequence failed.
        """
        merged = [Delta(index) for index in range(len(self._writers))]
        try:
            async for deltas in self._generation.deltas():
                for delta in deltas:
                    merged[delta.index].join(delta)
        except DecodingFailed:
            raise internal() from None
        return self._object([self._choice(delta) for delta in merged]).model_copy(update={"usage": self._usage()})

    async def events(self) -> AsyncIterator[bytes]:
        """The response as server-sent events, the last of them `[DONE]`; deltas that are ready together share one."""
        request = self._request
        include_usage = request.stream_options is not None and request.stream_options.include_usage
        unsent = None if include_usage else {"usage"}
        try:
            async for deltas in self._generation.deltas(MIN_INTERVAL_S):
                choices = [self._choice(delta) for delta in deltas]
                visible = [choice for choice in choices if choice.text or choice.finish_reason or choice.logprobs]
                if visible:
                    yield _event(self._object(visible).model_dump_json(exclude=unsent))
            if include_usage:
                yield _event(self._object([]).model_copy(update={"usage": self._usage()}).model_dump_json())
        except DecodingFailed:
            yield _event(internal().json())
        yield _event("[DONE]")

    def _choice(self, delta: Delta) -> Choice:
        self._completion_tokens += len(delta.tokens)
        return self._writers[delta.index].write(delta)

    def _object(self, choices: list[Choice]) -> Completion:
        return Completion(id=self._id, created=self._created, model=self._model_name, choices=choices)

    def _usage(self) -> Usage:
        prompt_tokens = sum(len(state.sequence.prompt) for state in self._generation.states[:: self._request.n])
        return Usage(
            prompt_tokens=prompt_tokens, completion_tokens=self._completion_tokens, total_tokens=prompt_tokens + self._completion_tokens
        )


class _ChoiceWriter:
    """Converts deltas of one sequence to chunks of one choice, with echo and logprobs if requested."""

    def __init__(self, request: CompletionRequest, index: int, prompt: tuple[int, ...], prompt_text: str, vocabulary: Vocabulary) -> None:
        self._index, self._prompt, self._vocabulary = index, prompt, vocabulary
        self._echo = prompt_text if request.echo else ""
        self._wants_logprobs = request.logprobs is not None
        self._offset = 0 if request.echo else len(prompt_text)

    def write(self, delta: Delta) -> Choice:
        """The choice that adds `delta`."""
        text, self._echo = self._echo + delta.text, ""
        logprobs = self._logprobs_of(delta) if self._wants_logprobs else None
        return Choice(text=text, index=self._index, logprobs=logprobs, finish_reason=delta.finish_reason)

    def _logprobs_of(self, delta: Delta) -> Logprobs | None:
        prompt = zip(self._prompt, delta.prompt_logprobs, strict=False)
        generated = zip(delta.tokens, delta.logprobs, strict=True)
        found = [*prompt, *generated]
        logprobs = Logprobs()
        for token, token_logprobs in found:
            self._append(logprobs, token, token_logprobs)
        return logprobs if found else None

    def _append(self, logprobs: Logprobs, token: int, found: TokenLogprobs | None) -> None:
        text = self._text(token)
        logprobs.tokens.append(text)
        logprobs.text_offset.append(self._offset)
        self._offset += len(text)
        logprobs.token_logprobs.append(None if found is None else found.chosen)
        best = None if found is None else {self._text(other): value for other, value in found.best.items()} | {text: found.chosen}
        logprobs.top_logprobs.append(best)

    def _text(self, token: int) -> str:
        return self._vocabulary.decode([token]).decode(errors="replace")


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
