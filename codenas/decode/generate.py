"""One sequence or one text through the engine."""

from collections.abc import Iterator

from codenas.decode.engine import Engine
from codenas.decode.events import Failed, Produced
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import FinishReason, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.text import TextStream
from codenas.vocab import Vocabulary


def generate(engine: Engine, sequence: Sequence) -> Iterator[int]:
    """Yield the generated tokens until a stop token (not yielded) or `max_tokens`, with an engine that has nothing else to do.

    Raises:
        ValueError: prompt and `max_tokens` exceed the context; see `fit_to_context`.
        RuntimeError: a forward pass failed.
    """
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


def complete(
    engine: Engine, vocabulary: Vocabulary, prompt: str, params: SamplingParams, suffix: str = "", suffix_first: bool = False
) -> tuple[str, FinishReason]:
    """The completion of `prompt` and its finish reason; with a suffix, the text between the two, by a prompt in either order.

    Raises:
        RuntimeError: a forward pass failed.
    """
    ids, context_len = vocabulary.encode(prompt), engine.context_len
    sequence = (
        fit_infill_to_context(ids, vocabulary.encode(suffix), params, vocabulary, context_len, suffix_first)
        if suffix
        else fit_to_context(ids, params, vocabulary, context_len)
    )
    stream, text, tokens = TextStream(params.stop), "", 0
    for token in generate(engine, sequence):
        tokens += 1
        text += stream.push(vocabulary.decode([token]))
        if stream.stopped:
            return text, "stop"
    text += stream.close()
    return text, "length" if tokens == sequence.params.max_tokens and not stream.stopped else "stop"
