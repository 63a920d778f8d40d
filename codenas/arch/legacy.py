"""Architectures in the format of the old project: a flat JSON object, or one line such as `L8 H512 layernorm gelu rope`.

The object's keys, each under any of its names (`KEYS`), with what their absence means:

    num_layers, hidden_size        needed
    arch_type                      transformer; or linear_transformer, mamba, rwkv; hybrid needs `layer_types`, a list of these
    num_heads, num_kv_heads        heads of 64 channels (one where the model is narrower); as many as heads
    intermediate_size              or ffn_multiplier, 4 by default: the hidden width of the feed-forward network
    activation                     gelu; or silu, relu2, geglu, swiglu
    norm_type                      layernorm; or rmsnorm, groupnorm
    position                       rope; or alibi, absolute (learned), none
    max_seq_len, window_size       that of `ArchSpec`; none
    tie_embeddings, dropout, attention_dropout     true, 0, 0
    vocab_size                     no part of an architecture here: it is handed back beside it

The line has the same as words (`rmsnorm`, `mamba`, `untied`) and as letters with a number: L layers, H hidden size, A heads,
K key-value heads, F feed-forward multiplier, S longest sequence, W window, V vocabulary.

Nothing is replaced quietly: what no model here can be (an activation `relu`, a hidden width of 100) is an error. The old
attention did not normalise queries and keys, so `qk_norm` is off.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from codenas.arch.mixers import MIXER_SPECS
from codenas.arch.spec import ArchSpec
from codenas.errors import ConfigError

HEAD_WIDTH, MULTIPLIER = 64, 4.0

# Every key under its names; the first is the one that messages use.
KEYS: dict[str, tuple[str, ...]] = {
    "num_layers": ("num_layers", "n_layers", "n_layer"),
    "hidden_size": ("hidden_size", "d_model", "hidden_dim", "n_embd"),
    "arch_type": ("arch_type", "architecture", "model_type"),
    "layer_types": ("layer_types", "pattern"),
    "num_heads": ("num_heads", "n_heads", "n_head", "num_attention_heads"),
    "num_kv_heads": ("num_kv_heads", "n_kv_heads", "num_key_value_heads"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "d_ff"),
    "ffn_multiplier": ("ffn_multiplier", "ffn_mult", "mlp_ratio"),
    "activation": ("activation", "hidden_act"),
    "norm_type": ("norm_type", "norm", "normalization"),
    "position": ("position", "pos_encoding", "position_encoding", "positional_encoding"),
    "max_seq_len": ("max_seq_len", "max_seq_length", "context_length", "max_position_embeddings"),
    "window_size": ("window_size", "sliding_window"),
    "tie_embeddings": ("tie_embeddings", "tie_word_embeddings", "tie_weights"),
    "dropout": ("dropout",),
    "attention_dropout": ("attention_dropout", "attn_dropout"),
    "vocab_size": ("vocab_size",),
}
_KEY_OF = {name: key for key, names in KEYS.items() for name in names}


def _plain(word: str) -> str:
    return re.sub(r"[-_ ]", "", word).lower()


# Words of the old format for ours; they are compared in lower case, without dashes and underscores.
WORDS: dict[str, dict[str, str]] = {
    "arch_type": {
        **{alias: spec.family() for spec in MIXER_SPECS for alias in (*spec.aliases, _plain(spec.family()))},
        "hybrid": "hybrid", "mixture": "hybrid",
    },
    "activation": {
        "gelu": "gelu", "silu": "silu", "swish": "silu", "relu2": "relu2", "squaredrelu": "relu2", "geglu": "geglu", "swiglu": "swiglu",
    },
    "norm_type": {"layernorm": "layernorm", "rmsnorm": "rmsnorm", "groupnorm": "groupnorm"},
    "position": {
        "rope": "rope", "rotary": "rope", "alibi": "alibi", "absolute": "absolute", "learned": "absolute", "none": "none", "nope": "none",
    },
}  # fmt: skip
_FLAGS = {"tied": True, "untied": False}
_LETTERS = {
    "L": "num_layers", "H": "hidden_size", "A": "num_heads", "K": "num_kv_heads",
    "F": "ffn_multiplier", "S": "max_seq_len", "W": "window_size", "V": "vocab_size",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LegacyArchitecture:
    """What the old format said: an architecture, and the vocabulary's size where it named one."""

    arch: ArchSpec
    vocab_size: int | None


def is_legacy(data: Mapping[str, Any]) -> bool:
    """Whether `data` is in the old format: it has a key that only that format knows."""
    return any(key in _KEY_OF and key not in ArchSpec.model_fields for key in data)


def from_legacy(data: Mapping[str, Any]) -> LegacyArchitecture:
    """The architecture that `data`, an object of the old format, describes.

    Raises:
        ConfigError: a key is unknown or stands twice, one is missing, or no model here can be what it says.
    """
    said = _by_key(data)
    missing = [key for key in ("num_layers", "hidden_size") if key not in said]
    if missing:
        raise ConfigError(f"{missing[0]} is missing; an architecture needs num_layers and hidden_size")
    d_model, vocab_size = _whole(said, "hidden_size"), said.get("vocab_size")
    fields = {
        "d_model": d_model,
        "n_layers": said["num_layers"],
        "pattern": [_mixer(kind, said, d_model) for kind in _kinds(said)],
        "feedforward": {"activation": _word(said, "activation", "gelu"), "multiplier": _multiplier(said, d_model)},
        "norm": _word(said, "norm_type", "layernorm"),
        "position": _word(said, "position", "rope"),
        **{ours: said[key] for key, ours in _SAME.items() if key in said},
    }
    try:
        arch = ArchSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"no valid architecture: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}") from error
    _check_hidden_width(arch, said)
    return LegacyArchitecture(arch, None if vocab_size is None else _whole(said, "vocab_size"))


def from_line(line: str) -> LegacyArchitecture:
    """The architecture that a line such as `L8 H512 layernorm gelu rope` describes.

    Raises:
        ConfigError: as `from_legacy`; or a word is unknown or says again what another said.
    """
    said: dict[str, Any] = {}
    for word in line.replace(",", " ").split():
        key, value = _read_word(word)
        if key in said:
            raise ConfigError(f"{word!r} says {key} a second time in {line!r}; leave one of them out")
        said[key] = value
    return from_legacy(said)


_SAME = {
    "max_seq_len": "context_len",
    "tie_embeddings": "tie_embeddings",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}


def _by_key(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` under the first name of every key; what is null is not said."""
    said: dict[str, Any] = {}
    for name, value in data.items():
        if name not in _KEY_OF:
            raise ConfigError(f"unknown key {name!r} = {value!r} of an old architecture; known keys are {', '.join(KEYS)}")
        if _KEY_OF[name] in said:
            raise ConfigError(f"{name!r} is another name of {_KEY_OF[name]}, which stands there too; leave one of them out")
        if isinstance(value, bool) and _KEY_OF[name] != "tie_embeddings":
            raise ConfigError(f"{name} {str(value).lower()} is neither a number nor a word; only tie_embeddings is true or false")
        if value is not None:
            said[_KEY_OF[name]] = value
    return said


def _read_word(word: str) -> tuple[str, Any]:
    number = re.fullmatch(r"([A-Za-z])(\d+(?:\.\d+)?)", word)
    if number and number[1].upper() in _LETTERS:
        return _LETTERS[number[1].upper()], float(number[2]) if "." in number[2] else int(number[2])
    if word.lower() in _FLAGS:
        return "tie_embeddings", _FLAGS[word.lower()]
    for key, words in WORDS.items():
        if _plain(word) in words:
            return key, word
    letters = ", ".join(f"{letter} ({key})" for letter, key in _LETTERS.items())
    known = ", ".join(dict.fromkeys(ours for words in WORDS.values() for ours in words.values() if ours != "hybrid"))
    raise ConfigError(f"unknown word {word!r}; known are a number behind {letters}, and {known}, {', '.join(_FLAGS)}")


def _kinds(said: Mapping[str, Any]) -> list[str]:
    kind, layers = _word(said, "arch_type", "attention"), said.get("layer_types")
    if kind == "hybrid" and not (isinstance(layers, list | tuple) and layers):
        raise ConfigError(f"arch_type {said['arch_type']!r} does not say of what; add layer_types, such as ['mamba', 'transformer']")
    if kind != "hybrid" and layers is not None:
        raise ConfigError(f"layer_types {layers!r} belongs to arch_type 'hybrid', not to {said.get('arch_type', 'transformer')!r}")
    if kind != "hybrid":
        return [kind]
    kinds = [_word({"arch_type": layer}, "arch_type", "") for layer in layers or ()]
    if "hybrid" in kinds:
        raise ConfigError(f"layer_types {layers!r}: a layer of a hybrid is no hybrid; name its mixer")
    return kinds


def _mixer(kind: str, said: Mapping[str, Any], d_model: int) -> dict[str, Any]:
    """The mixer of `kind`; what the old format says of heads and windows means something to some families only."""
    spec = next(spec for spec in MIXER_SPECS if spec.family() == kind)
    heads = _whole(said, "num_heads") if "num_heads" in said else max(1, d_model // HEAD_WIDTH)
    return {"kind": kind, **spec.from_legacy(heads, said.get("num_kv_heads", heads), said.get("window_size"))}


def _multiplier(said: Mapping[str, Any], d_model: int) -> float:
    if "intermediate_size" not in said:
        return said.get("ffn_multiplier", MULTIPLIER)
    if "ffn_multiplier" in said:
        raise ConfigError("intermediate_size and ffn_multiplier both say how wide the feed-forward network is; leave one of them out")
    return _whole(said, "intermediate_size") / d_model


def _check_hidden_width(arch: ArchSpec, said: Mapping[str, Any]) -> None:
    """Widths are rounded here; one that is given outright must be met."""
    width = arch.feedforward.hidden_width(arch.d_model)
    if said.get("intermediate_size", width) != width:
        raise ConfigError(f"intermediate_size {said['intermediate_size']} is no multiple of 8; {width} is the nearest that can be built")


def _word(said: Mapping[str, Any], key: str, default: str) -> str:
    if key not in said:
        return default
    known = WORDS[key]
    if not isinstance(said[key], str) or _plain(said[key]) not in known:
        raise ConfigError(f"{key} {said[key]!r} is unknown; known are {', '.join(known)}")
    return known[_plain(said[key])]


def _whole(said: Mapping[str, Any], key: str) -> int:
    value = said[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} {value!r} must be a whole number above 0")
    return value
