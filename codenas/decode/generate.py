"""The reference implementation of generation: one sequence, one token at a time. Faster ones are tested against it."""

from collections.abc import Iterator

import torch

from codenas.decode.sampling import Sampler, SamplingParams
from codenas.decode.sequence import FinishReason, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.text import TextStream
from codenas.model import LanguageModel
from codenas.vocab import Vocabulary


@torch.inference_mode()
def generate(model: LanguageModel, sequence: Sequence) -> Iterator[int]:
    """Yield the generated tokens until a stop token (not yielded) or `max_tokens`.

    Raises:
        ValueError: prompt and `max_tokens` exceed the context; see `fit_to_context`.
    """
    if len(sequence.prompt) + sequence.params.max_tokens > model.arch.context_len:
        raise ValueError(f"{len(sequence.prompt)} + {sequence.params.max_tokens} tokens do not fit {model.arch.context_len}")
    state, sampler, new = model.initial_state(1), Sampler(sequence.params), list(sequence.prompt)
    for _ in range(sequence.params.max_tokens):
        logits = model.extend(torch.tensor([new], device=model.device), state)
        token = sampler(logits[0, -1].cpu())
        if token in sequence.stop_token_ids:
            return
        yield token
        new = [token]


def complete(
    model: LanguageModel, vocabulary: Vocabulary, prompt: str, params: SamplingParams, suffix: str = ""
) -> tuple[str, FinishReason]:
    """The completion of `prompt` and its finish reason; with a suffix, the text between the two."""
    ids, context_len = vocabulary.encode(prompt), model.arch.context_len
    sequence = (
        fit_infill_to_context(ids, vocabulary.encode(suffix), params, vocabulary, context_len)
        if suffix
        else fit_to_context(ids, params, vocabulary, context_len)
    )
    stream, text, tokens = TextStream(params.stop), "", 0
    for token in generate(model, sequence):
        tokens += 1
        text += stream.push(vocabulary.decode([token]))
        if stream.stopped:
            return text, "stop"
    text += stream.close()
    return text, "length" if tokens == sequence.params.max_tokens and not stream.stopped else "stop"
