"""Small models with random weights, and a vocabulary, for tests of decoding."""

import torch

from codenas.arch import ArchSpec, AttentionSpec
from codenas.decode import SamplingParams, Sequence, fit_to_context
from codenas.model import LanguageModel, build_model
from codenas.vocab import Char

VOCABULARY = Char("éü∑数😀")
CONTEXT = 48


def tiny_model(seed: int = 0, window: int | None = None, context_len: int = CONTEXT) -> LanguageModel:
    """A model whose every weight is drawn, so that its scores are far from even."""
    mixer = AttentionSpec(n_heads=2, n_kv_heads=1, window=window)
    model = build_model(ArchSpec(d_model=16, n_layers=2, pattern=(mixer,), context_len=context_len), VOCABULARY.size, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model.eval()


def sequence(prompt: str, context_len: int = CONTEXT, prompt_logprobs: bool = False, **params: object) -> Sequence:
    """What `prompt` is to the decoder; greedy unless `params` say otherwise."""
    return fit_to_context(
        VOCABULARY.encode(prompt),
        SamplingParams.model_validate({"temperature": 0, **params}),
        VOCABULARY,
        context_len,
        prompt_logprobs,
    )
