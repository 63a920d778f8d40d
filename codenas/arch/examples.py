"""Named designs: the two shapes whose decoding is measured here and published elsewhere, a Llama-like model at two sizes."""

from codenas.arch.design import Design
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.spec import ArchSpec, FeedForwardSpec


def _llama(d_model: int, n_layers: int, n_heads: int, vocabulary: str) -> Design:
    attention = AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, qk_norm=False)
    feedforward = FeedForwardSpec(activation="swiglu", multiplier=3.0)
    arch = ArchSpec(d_model=d_model, n_layers=n_layers, pattern=(attention,), feedforward=feedforward, context_len=512)
    return Design(arch=arch, vocabulary=vocabulary)


EXAMPLES = {
    "4M": _llama(256, 4, 4, "bpe-4096"),
    "31M": _llama(512, 8, 8, "bpe-8000"),
}
