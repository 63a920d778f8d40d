"""One sequence or one text through the engine."""

from collections.abc import Iterator

from codenas.decode.backend import Backend
from codenas.decode.engine import Engine, EngineSettings
from codenas.decode.events import Failed, Produced
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import FinishReason, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.text import TextStream
from codenas.vocab import Vocabulary


def generate(backend: Backend, sequence: Sequence, settings: EngineSettings | None = None) -> Iterator[int]:
    """Yield the generated tokens until a stop token (not yielded) or `max_tokens`.

    Raises:
        ValueError: prompt and `max_tokens` exceed the context; see `fit_to_context`.
        RuntimeError: a forward pass failed.
    """
    engine = Engine(backend, settings)
    id = engine.admit(sequence)
    try:
        while not engine.idle:
            for event in engine.step():
                if isinstance(event, Produced):
                    yield from event.tokens
                elif isinstance(event, Failed):
                    raise RuntimeError(event.reason)
    finally:
        engine.cancel(id)


def complete(backend: Backend, vocabulary: Vocabulary, prompt: str, params: SamplingParams, suffix: str = "") -> tuple[str, FinishReason]:
    """The completion of `prompt` and its finish reason; with a suffix, the text between the two.

    Raises:
        RuntimeError: a forward pass failed.
    """
    ids, context_len = vocabulary.encode(prompt), backend.context_len
    sequence = (
        fit_infill_to_context(ids, vocabulary.encode(suffix), params, vocabulary, context_len)
        if suffix
        else fit_to_context(ids, params, vocabulary, context_len)
    )
    stream, text, tokens = TextStream(params.stop), "", 0
    for token in generate(backend, sequence):
        tokens += 1
        text += stream.push(vocabulary.decode([token]))
        if stream.stopped:
            return text, "stop"
    text += stream.close()
    return text, "length" if tokens == sequence.params.max_tokens and not stream.stopped else "stop"
