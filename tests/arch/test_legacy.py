"""The old project's architectures: what they said is what is built, and what cannot be built is one clear line."""

from typing import Any

import pytest

from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec
from codenas.arch.legacy import KEYS, WORDS, LegacyArchitecture, from_legacy, from_line, is_legacy
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.errors import ConfigError

SMALL = {"num_layers": 4, "hidden_size": 256}


def converted(**more: Any) -> ArchSpec:
    return from_legacy({**SMALL, **more}).arch


def test_every_key_reaches_its_field() -> None:
    found = from_legacy(
        {
            "arch_type": "transformer", "num_layers": 8, "hidden_size": 512, "num_heads": 8, "num_kv_heads": 2, "intermediate_size": 1536,
            "norm_type": "rmsnorm", "activation": "swiglu", "pos_encoding": "alibi", "window_size": 128, "tie_embeddings": False,
            "dropout": 0.1, "attention_dropout": 0.05, "max_seq_len": 1024, "vocab_size": 8192,
        }
    )  # fmt: skip
    assert found == LegacyArchitecture(
        ArchSpec(
            d_model=512, n_layers=8, pattern=(AttentionSpec(n_heads=8, n_kv_heads=2, window=128, qk_norm=False),),
            feedforward=FeedForwardSpec(activation="swiglu", multiplier=3.0), norm="rmsnorm", position="alibi", context_len=1024,
            tie_embeddings=False, dropout=0.1, attention_dropout=0.05,
        ),
        8192,
    )  # fmt: skip


def test_what_is_not_said_is_what_the_documentation_says() -> None:
    assert from_legacy(SMALL) == LegacyArchitecture(
        ArchSpec(
            d_model=256, n_layers=4, pattern=(AttentionSpec(n_heads=4, n_kv_heads=4, qk_norm=False),),
            feedforward=FeedForwardSpec(activation="gelu", multiplier=4.0), norm="layernorm",
        ),
        None,
    )  # fmt: skip
    assert converted(norm_type=None, num_kv_heads=None) == converted()


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("L8 H512 layernorm gelu rope", {"num_layers": 8, "hidden_size": 512}),
        ("l8, h512, A16 K2, F3.5 S1024 W64 V5000", {
            "num_layers": 8, "hidden_size": 512, "num_heads": 16, "num_kv_heads": 2, "ffn_multiplier": 3.5,
            "max_seq_len": 1024, "window_size": 64, "vocab_size": 5000,
        }),
        ("mamba L4 H256 rms_norm SwiGLU none untied", {
            **SMALL, "arch_type": "mamba", "norm_type": "rmsnorm", "activation": "swiglu", "position": "none", "tie_embeddings": False,
        }),
    ],
)  # fmt: skip
def test_a_line_says_what_an_object_says(line: str, same: dict[str, Any]) -> None:
    assert from_line(line) == from_legacy(same)


@pytest.mark.parametrize(
    ("legacy", "pattern"),
    [
        ({"arch_type": "linear_transformer", "num_heads": 8}, (LinearAttentionSpec(n_heads=8),)),
        ({"arch_type": "Mamba"}, (MambaSpec(),)),
        ({"arch_type": "rwkv"}, (RwkvSpec(),)),
        ({"arch_type": "hybrid", "layer_types": ["mamba", "transformer"], "num_heads": 2}, (
            MambaSpec(), AttentionSpec(n_heads=2, n_kv_heads=2, qk_norm=False),
        )),
        ({"arch_type": "mixture", "layer_types": ["rwkv"]}, (RwkvSpec(),)),
    ],
)  # fmt: skip
def test_every_family_has_its_mixers(legacy: dict[str, Any], pattern: tuple[Any, ...]) -> None:
    assert converted(**legacy).pattern == pattern


SAID: dict[str, Any] = {
    "num_layers": 3, "hidden_size": 128, "arch_type": "rwkv", "layer_types": ["rwkv", "mamba"], "num_heads": 2, "num_kv_heads": 1,
    "intermediate_size": 64, "ffn_multiplier": 2.0, "activation": "silu", "norm_type": "groupnorm", "position": "learned",
    "max_seq_len": 99, "window_size": 9, "tie_embeddings": False, "dropout": 0.2, "attention_dropout": 0.3, "vocab_size": 77,
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_all_names_of_a_key_mean_the_same_and_something(key: str) -> None:
    rest = {**SMALL, "num_heads": 4, **({"arch_type": "hybrid"} if key == "layer_types" else {})}
    rest.pop(key, None)
    found = [from_legacy({**rest, name: SAID[key]}) for name in KEYS[key]]
    assert all(each == found[0] for each in found)
    assert found[0] != from_legacy({**SMALL, "num_heads": 4})


@pytest.mark.parametrize("key", WORDS)
def test_every_word_is_known_in_any_spelling(key: str) -> None:
    for word, ours in WORDS[key].items():
        layers = {"layer_types": ["mamba"]} if ours == "hybrid" else {}
        assert converted(**{key: word}, **layers) == converted(**{key: word.upper()}, **layers)


@pytest.mark.parametrize(
    ("legacy", "message"),
    [
        ({"num_experts": 4}, "unknown key 'num_experts' = 4 of an old architecture; known keys are num_layers, hidden_size, arch_type"),
        ({"d_model": 256}, "'d_model' is another name of hidden_size, which stands there too"),
        ({"num_layers": None}, "num_layers is missing; an architecture needs num_layers and hidden_size"),
        ({"hidden_size": "wide"}, "hidden_size 'wide' must be a whole number above 0"),
        ({"vocab_size": 0}, "vocab_size 0 must be a whole number above 0"),
        ({"num_heads": True}, "num_heads true is neither a number nor a word; only tie_embeddings is true or false"),
        ({"num_layers": True}, "num_layers true is neither a number nor a word"),
        ({"ffn_multiplier": True}, "ffn_multiplier true is neither a number nor a word"),
        ({"window_size": True}, "window_size true is neither a number nor a word"),
        ({"num_heads": 3}, "no valid architecture: n_heads 3 does not divide d_model 256"),
        ({"num_heads": 4, "num_kv_heads": 3}, "n_kv_heads 3 does not divide n_heads 4"),
        ({"num_layers": 0}, "no valid architecture: n_layers: Input should be greater than or equal to 1"),
        ({"activation": "relu"}, "activation 'relu' is unknown; known are gelu, silu, swish, relu2"),
        ({"norm_type": 3}, "norm_type 3 is unknown; known are layernorm"),
        ({"position": "sinusoidal"}, "position 'sinusoidal' is unknown; known are rope"),
        ({"intermediate_size": 100}, "intermediate_size 100 is no multiple of 8; 96 is the nearest that can be built"),
        ({"intermediate_size": 512, "ffn_multiplier": 2}, "both say how wide the feed-forward network is"),
        ({"arch_type": "hybrid"}, "arch_type 'hybrid' does not say of what; add layer_types"),
        ({"arch_type": "mixture", "layer_types": ["hybrid"]}, "a layer of a hybrid is no hybrid"),
        ({"arch_type": "mamba", "layer_types": ["mamba"]}, "belongs to arch_type 'hybrid', not to 'mamba'"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_clear_line(legacy: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_legacy({**SMALL, **legacy})
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("L8 H512 batchnorm", "unknown word 'batchnorm'; known are a number behind L (num_layers), H (hidden_size)"),
        ("L8 L9 H512", "'L9' says num_layers a second time in 'L8 L9 H512'"),
        ("H512 gelu", "num_layers is missing"),
        ("", "num_layers is missing"),
    ],
)
def test_a_line_that_cannot_be_read_says_which_word(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_line(line)
    assert message in str(caught.value)


def test_our_own_format_is_not_taken_for_the_old_one() -> None:
    assert is_legacy(SMALL) and is_legacy({"d_model": 256, "n_layers": 4, "norm_type": "rmsnorm"})
    assert not is_legacy(ArchSpec().model_dump()) and not is_legacy({"d_model": 256, "n_layers": 4})
