"""Named search spaces. A preset is only data: `SearchSpace` says what it means."""

from codenas.arch.space import SearchSpace
from codenas.arch.spec import ArchSpec, AttentionSpec
from codenas.errors import ConfigError

_ATTENTION = AttentionSpec(n_heads=4, n_kv_heads=4)

# A laptop's search: trains to 50 steps in seconds, the largest has about 4 M parameters with a 4K vocabulary.
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
    },
)

SMALL = SearchSpace(
    base=ArchSpec(d_model=512, n_layers=8, pattern=(_ATTENTION,), context_len=512),
    choices={
        "d_model": (256, 384, 512),
        "n_layers": (4, 6, 8, 12),
        "pattern.attention.n_heads": (4, 8),
        "pattern.attention.n_kv_heads": (1, 2, 4, 8),
        "pattern.attention.window": (None, 128),
        "feedforward.activation": ("gelu", "silu", "geglu", "swiglu"),
        "feedforward.multiplier": (2.0, 8 / 3, 4.0),
        "norm": ("layernorm", "rmsnorm"),
        "position": ("rope", "alibi", "absolute"),
        "tie_embeddings": (True, False),
        "dropout": (0.0, 0.1),
    },
)

PRESETS = {"tiny": TINY, "small": SMALL}


def preset(name: str) -> SearchSpace:
    """The space called `name`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"no search space is called {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
