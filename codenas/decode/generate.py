"""The slow, clear way to generate: one sequence, one token at a time. Every faster way is tested against it."""

from collections.abc import Iterator

import torch

from codenas.decode.sampling import Sampler, SamplingParams
from codenas.decode.sequence import FinishReason, Sequence, fit, fit_infill
from codenas.decode.text import TextStream
from codenas.model import LanguageModel
from codenas.vocab import Vocabulary


@torch.inference_mode()
def generate(model: LanguageModel, sequence: Sequence) -> Iterator[int]:
    """Yield the tokens of the answer; ends at an end token (not yielded) or after `max_tokens`.

    Raises:
        ValueError: prompt and answer do not fit the context; `fit` makes them.
    """
    if len(sequence.prompt) + sequence.params.max_tokens > model.arch.context_len:
        raise ValueError(f"{len(sequence.prompt)} + {sequence.params.max_tokens} tokens do not fit {model.arch.context_len}")
    state, sampler, new = model.initial_state(1), Sampler(sequence.params), list(sequence.prompt)
    for _ in range(sequence.params.max_tokens):
        scores = model.extend(torch.tensor([new], device=model.device), state)
        token = sampler(scores[0, -1].cpu())
        if token in sequence.ends:
            return
        yield token
        new = [token]


def complete(
    model: LanguageModel, vocabulary: Vocabulary, prompt: str, params: SamplingParams, suffix: str = ""
) -> tuple[str, FinishReason]:
    """The text that follows `prompt`, up to a stop string, the end of the text, or `max_tokens`; with a suffix what stands between."""
    ids, context_len = vocabulary.encode(prompt), model.arch.context_len
    sequence = (
        fit_infill(ids, vocabulary.encode(suffix), params, vocabulary, context_len) if suffix else fit(ids, params, vocabulary, context_len)
    )
    stream, text, tokens = TextStream(params.stop), "", 0
    for token in generate(model, sequence):
        tokens += 1
        text += stream.push(vocabulary.decode([token]))
        if stream.stopped:
            return text, "stop"
    text += stream.close()
    return text, "length" if tokens == sequence.params.max_tokens and not stream.stopped else "stop"
