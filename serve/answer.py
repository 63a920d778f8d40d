"""From what the decoder brings to what a client reads: one object, or a stream of them."""

import time
import uuid
from collections.abc import AsyncIterator

from codenas.decode import TokenScores
from codenas.vocab import Vocabulary
from serve.engine import DecodingFailed, Piece, Ticket
from serve.errors import internal
from serve.protocol import Choice, Completion, CompletionRequest, Logprobs, Usage
from serve.translate import Translator

# A chunk costs the proxy and the client more than a small model needs for a token: what comes within this time goes together.
PACE_S = 0.01


class Answer:
    """The answer to one request while it comes in."""

    def __init__(self, asked: CompletionRequest, ticket: Ticket, translator: Translator, model_name: str) -> None:
        self._asked, self._ticket, self._model_name = asked, ticket, model_name
        self._id, self._created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self._written = 0
        self._writers = [
            _ChoiceWriter(asked, index, job.sequence.prompt, translator.text(asked.prompt[index // asked.n]), translator.vocabulary)
            for index, job in enumerate(ticket.jobs)
        ]

    async def whole(self) -> Completion:
        """All choices, complete.

        Raises:
            ApiError: 500, a sequence failed.
        """
        complete = [Piece(index) for index in range(len(self._writers))]
        try:
            async for pieces in self._ticket.pieces():
                for piece in pieces:
                    complete[piece.index].join(piece)
        except DecodingFailed:
            raise internal() from None
        return self._object([self._choice(piece) for piece in complete]).model_copy(update={"usage": self._usage()})

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events: what is ready at a time goes out together, the end is `[DONE]`."""
        asked = self._asked
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        unsent = None if include_usage else {"usage"}
        try:
            async for pieces in self._ticket.pieces(PACE_S):
                choices = [self._choice(piece) for piece in pieces]
                shown = [choice for choice in choices if choice.text or choice.finish_reason or choice.logprobs]
                if shown:
                    yield _event(self._object(shown).model_dump_json(exclude=unsent))
            if include_usage:
                yield _event(self._object([]).model_copy(update={"usage": self._usage()}).model_dump_json())
        except DecodingFailed:
            yield _event(internal().json())
        yield _event("[DONE]")

    def _choice(self, piece: Piece) -> Choice:
        self._written += len(piece.tokens)
        return self._writers[piece.index].write(piece)

    def _object(self, choices: list[Choice]) -> Completion:
        return Completion(id=self._id, created=self._created, model=self._model_name, choices=choices)

    def _usage(self) -> Usage:
        read = sum(len(job.sequence.prompt) for job in self._ticket.jobs[:: self._asked.n])
        return Usage(prompt_tokens=read, completion_tokens=self._written, total_tokens=read + self._written)


class _ChoiceWriter:
    """Pieces of one sequence to pieces of one choice: echo first, logprobs where they were asked for."""

    def __init__(self, asked: CompletionRequest, index: int, prompt: tuple[int, ...], prompt_text: str, vocabulary: Vocabulary) -> None:
        self._index, self._prompt, self._vocabulary = index, prompt, vocabulary
        self._echo = prompt_text if asked.echo else ""
        self._logprobs = asked.logprobs is not None
        self._offset = 0 if asked.echo else len(prompt_text)

    def write(self, piece: Piece) -> Choice:
        """The choice that adds `piece`."""
        text, self._echo = self._echo + piece.text, ""
        logprobs = self._score(piece) if self._logprobs else None
        return Choice(text=text, index=self._index, logprobs=logprobs, finish_reason=piece.finish_reason)

    def _score(self, piece: Piece) -> Logprobs | None:
        prompt = zip(self._prompt, piece.prompt_scores, strict=False)
        answer = zip(piece.tokens, piece.scores, strict=True)
        scored = [*prompt, *answer]
        logprobs = Logprobs()
        for token, scores in scored:
            self._append(logprobs, token, scores)
        return logprobs if scored else None

    def _append(self, logprobs: Logprobs, token: int, scores: TokenScores | None) -> None:
        text = self._text(token)
        logprobs.tokens.append(text)
        logprobs.text_offset.append(self._offset)
        self._offset += len(text)
        logprobs.token_logprobs.append(None if scores is None else scores.chosen)
        best = None if scores is None else {self._text(other): value for other, value in scores.best.items()} | {text: scores.chosen}
        logprobs.top_logprobs.append(best)

    def _text(self, token: int) -> str:
        return self._vocabulary.decode([token]).decode(errors="replace")


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
