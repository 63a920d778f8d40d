"""Every mixer, position, norm and activation, in models of some thousand parameters: the members of the contracts of models."""

from typing import get_args

from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec, MixerSpec
from codenas.arch.mixers import MIXER_SPECS
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.part import Position
from codenas.arch.spec import Activation, Norm
from tests.fakes import tiny_arch

LENGTH, WINDOW = 20, 5


def attention(heads: int, kv_heads: int, window: int | None = None, qk_norm: bool = True) -> AttentionSpec:
    return AttentionSpec(n_heads=heads, n_kv_heads=kv_heads, window=window, qk_norm=qk_norm)


MIXERS: dict[str, MixerSpec] = {
    "attention": AttentionSpec(),
    "multi-head": attention(4, 4, qk_norm=False),
    "grouped": attention(4, 2),
    "multi-query": attention(4, 1, qk_norm=False),
    "one head": attention(1, 1),
    "window": attention(4, 4, WINDOW),
    "grouped window": attention(4, 2, WINDOW, qk_norm=False),
    "window of one": attention(2, 1, 1),
    "window over the context": attention(2, 2, 10 * LENGTH),
    "linear": LinearAttentionSpec(n_heads=4),
    "linear with one head": LinearAttentionSpec(n_heads=1),
    "mamba": MambaSpec(head_width=8, state_width=8),
    "mamba with one head": MambaSpec(expand=1, head_width=16, state_width=16, conv_width=2),
    "mamba with a wide convolution": MambaSpec(head_width=16, state_width=8, conv_width=8),
    "rwkv": RwkvSpec(head_width=8, rank=4, gate_rank=4),
    "rwkv with one head": RwkvSpec(head_width=16, rank=2, gate_rank=8),
}
BY_DEFAULT: dict[str, MixerSpec] = {
    spec.label: spec(kind=spec.family()) for spec in MIXER_SPECS if spec not in {type(mixer) for mixer in MIXERS.values()}
}
ARCHS: dict[str, ArchSpec] = {
    **{f"{name}, {position}": tiny_arch(mixer, position=position) for name, mixer in MIXERS.items() for position in get_args(Position)},
    **{name: tiny_arch(mixer, d_model=64) for name, mixer in BY_DEFAULT.items()},
    **{norm: tiny_arch(norm=norm, context_len=LENGTH) for norm in get_args(Norm)},
    **{name: tiny_arch(feedforward=FeedForwardSpec(activation=name)) for name in get_args(Activation)},
    "mixed pattern": tiny_arch(n_layers=3, pattern=(attention(4, 2, WINDOW), attention(2, 2))),
    "hybrid": tiny_arch(n_layers=4, pattern=(MIXERS["mamba"], attention(2, 1, WINDOW), MIXERS["linear"], MIXERS["rwkv"])),
    "untied": tiny_arch(tie_embeddings=False),
}
