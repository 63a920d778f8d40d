"""Named search spaces. A preset is only data: `SearchSpace` says what it means."""

from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.space import SearchSpace
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import STORAGES
from codenas.errors import ConfigError

# What a preset chooses beside the architecture. Every one chooses the storage: the same bytes hold a small model in float16 or one
# of four times the parameters in int4. The vocabulary is in none: a space may name only those that the corpus has.
_STORAGE = {"storage": STORAGES}
_STORAGE_AND_PRUNING = {**_STORAGE, "pruning": (0.0, 0.25, 0.5)}

_ATTENTION = AttentionSpec(n_heads=4, n_kv_heads=4)

# A laptop's search: trains to 50 steps in seconds, the largest has about 5 M parameters with a 4K vocabulary.
TINY = SearchSpace(
    base=ArchSpec(pattern=(_ATTENTION,)),
    choices={
        "d_model": (128, 192, 256),
        "n_layers": (2, 3, 4),
        "pattern.attention.n_heads": (2, 4, 8),
        "pattern.attention.n_kv_heads": (1, 2, 4, 8),
        "pattern.attention.window": (None, 64),
        "feedforward.activation": ("gelu", "silu", "geglu", "swiglu"),
        "feedforward.multiplier": (2.0, 3.0, 4.0),
        "norm": ("layernorm", "rmsnorm"),
        "position": ("rope", "alibi", "absolute"),
        **_STORAGE,
    },
)

_FAMILIES = (LinearAttentionSpec(n_heads=4), MambaSpec(head_width=32, state_width=32), RwkvSpec(head_width=32))
_PURE = (("attention",), ("linear_attention",), ("mamba2",), ("rwkv7",))
_HYBRID = (
    ("linear_attention", "attention"),
    ("mamba2", "attention"),
    ("rwkv7", "attention"),
    ("mamba2", "mamba2", "mamba2", "attention"),
    ("rwkv7", "rwkv7", "rwkv7", "attention"),
)
_REST = {
    "feedforward.activation": ("gelu", "silu", "relu2", "geglu", "swiglu"),
    "feedforward.multiplier": (1.0, 2.0, 8 / 3, 3.0, 4.0),
    "norm": ("layernorm", "rmsnorm", "groupnorm"),
    "position": ("rope", "alibi", "absolute", "none"),
    "tie_embeddings": (True, False),
}

SMALL = SearchSpace(
    base=ArchSpec(d_model=256, n_layers=4, pattern=(_ATTENTION,)),
    mixers=_FAMILIES,
    choices={
        "d_model": (128, 192, 256, 320, 384),
        "n_layers": (2, 3, 4, 6, 8),
        "pattern": (*_PURE, *_HYBRID),
        "pattern.attention.n_heads": (2, 4, 8),
        "pattern.attention.n_kv_heads": (1, 2, 4, 8),
        "pattern.attention.window": (None, 64),
        "pattern.linear_attention.n_heads": (2, 4, 8),
        "pattern.mamba2.state_width": (16, 32, 64),
        "pattern.rwkv7.head_width": (32, 64),
        **_REST,
        **_STORAGE,
    },
)

MEDIUM = SearchSpace(
    base=ArchSpec(d_model=512, n_layers=8, pattern=(_ATTENTION,), context_len=512),
    mixers=_FAMILIES,
    choices={
        "d_model": (256, 320, 384, 448, 512, 640),
        "n_layers": (4, 6, 8, 10, 12, 16),
        "pattern": (*_PURE, *_HYBRID),
        "pattern.attention.n_heads": (4, 8, 16),
        "pattern.attention.n_kv_heads": (1, 2, 4, 8),
        "pattern.attention.window": (None, 128),
        "pattern.linear_attention.n_heads": (4, 8),
        "pattern.mamba2.expand": (1, 2),
        "pattern.mamba2.state_width": (32, 64, 128),
        "pattern.rwkv7.head_width": (32, 64),
        "dropout": (0.0, 0.1),
        "embedding_rank": (None, 128),
        **_REST,
        **_STORAGE_AND_PRUNING,
    },
)

FULL = SearchSpace(
    base=ArchSpec(d_model=512, n_layers=8, pattern=(_ATTENTION,), context_len=1024),
    mixers=_FAMILIES,
    choices={
        "d_model": (128, 192, 256, 320, 384, 448, 512, 576, 640, 768, 896, 1024),
        "n_layers": (2, 3, 4, 6, 8, 10, 12, 16, 20, 24),
        "pattern": (*_PURE, *_HYBRID),
        "pattern.attention.n_heads": (2, 4, 8, 12, 16),
        "pattern.attention.n_kv_heads": (1, 2, 4, 8, 16),
        "pattern.attention.window": (None, 64, 128, 256),
        "pattern.attention.qk_norm": (True, False),
        "pattern.linear_attention.n_heads": (2, 4, 8, 16),
        "pattern.mamba2.expand": (1, 2),
        "pattern.mamba2.head_width": (32, 64),
        "pattern.mamba2.state_width": (16, 32, 64, 128),
        "pattern.rwkv7.head_width": (32, 64),
        "pattern.rwkv7.rank": (16, 32, 64),
        "dropout": (0.0, 0.05, 0.1),
        "attention_dropout": (0.0, 0.1),
        "embedding_rank": (None, 64, 128, 256),
        **_REST,
        **_STORAGE_AND_PRUNING,
    },
)

PRESETS = {"tiny": TINY, "small": SMALL, "medium": MEDIUM, "full": FULL}


def preset(name: str) -> SearchSpace:
    """The space called `name`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"no search space is called {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
