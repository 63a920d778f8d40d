"""Small models with random weights, and a vocabulary, for tests of decoding."""

from typing import Any

from codenas.arch import AttentionSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.part import Position
from codenas.decode import SamplingParams, Sequence, fit_to_context
from codenas.model import LanguageModel
from codenas.vocab import Char
from tests.fakes import drawn_model, tiny_arch

VOCABULARY = Char("éü∑数😀")
CONTEXT = 48

_MAMBA, _RWKV = MambaSpec(head_width=8, state_width=8), RwkvSpec(head_width=8, rank=4, gate_rank=4)
_LINEAR = LinearAttentionSpec(n_heads=2)
_FULL, _WINDOW = AttentionSpec(n_heads=2, n_kv_heads=1), AttentionSpec(n_heads=2, n_kv_heads=1, window=8)
PATTERNS = {
    "attention": (_FULL,),
    "window": (_WINDOW, _FULL),
    "linear attention": (_LINEAR,),
    "mamba": (_MAMBA,),
    "rwkv": (_RWKV,),
    "hybrid": (_MAMBA, _WINDOW, _LINEAR, _FULL),
}


def tiny_model(seed: int = 0, window: int | None = None, context_len: int = CONTEXT) -> LanguageModel:
    """A model with attention whose every weight is drawn, so that its logits are far from even.

    The embedding is not tied: else the likeliest token is the last one again.
    """
    mixer = AttentionSpec(n_heads=2, n_kv_heads=1, window=window)
    return drawn_model(tiny_arch(mixer, context_len=context_len, tie_embeddings=False), VOCABULARY.size, seed)


def model_of(pattern: str, position: Position = "rope", seed: int = 1) -> LanguageModel:
    """A model with the mixers of `PATTERNS[pattern]`."""
    mixers: Any = PATTERNS[pattern]
    arch = tiny_arch(n_layers=max(2, len(mixers)), pattern=mixers, position=position, context_len=CONTEXT, tie_embeddings=False)
    return drawn_model(arch, VOCABULARY.size, seed)


def sequence(prompt: str, context_len: int = CONTEXT, prompt_logprobs: bool = False, **params: object) -> Sequence:
    """What `prompt` is to the decoder; greedy unless `params` say otherwise."""
    return fit_to_context(
        VOCABULARY.encode(prompt),
        SamplingParams.model_validate({"temperature": 0, **params}),
        VOCABULARY,
        context_len,
        prompt_logprobs,
    )
