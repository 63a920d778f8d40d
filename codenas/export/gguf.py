"""GGUF, the file format of llama.cpp: attention models under the architecture of llama.cpp that computes exactly the same.

A stored int8 matrix becomes Q8_0 and a stored int4 matrix Q4_0 without a second quantisation: their blocks of 32 inputs repeat the
scale of our row, or of our group of 64. The embedding's factor sqrt(d_model) is a field of some of llama.cpp's architectures; for the
others the embedding table is written in float32, multiplied, beside the output matrix.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from codenas.arch.cost import tensors
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.part import Position
from codenas.arch.spec import Activation, ArchSpec, Norm
from codenas.compress.stored import StoredModel
from codenas.errors import ConfigError
from codenas.export.gguf_matrix import BLOCK, Matrix
from codenas.export.gguf_tokenizer import add_vocabulary
from codenas.files import atomic_file
from codenas.model.norms import EPSILON
from codenas.model.positions import ROTARY_BASE
from codenas.vocab import Vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_NO_SINK = -1e30  # a logit that takes no weight in a softmax; -inf would be a NaN beside an empty row

Precision = Literal["stored", "float32"]


@dataclass(frozen=True, slots=True)
class Target:
    """An architecture of llama.cpp and what it computes.

    Attributes:
        name: in GGUF files.
        adjacent_pairs: rotary embeddings rotate channels 2i and 2i + 1; otherwise i and i + width / 2, as ours do.
        scales_embedding: reads the factor of the embedding from the file; tied embeddings stay one matrix.
    """

    name: str
    norm: Norm
    activation: Activation
    positions: tuple[Position, ...]
    qk_norm: bool = False
    windowed: bool = False
    adjacent_pairs: bool = False
    scales_embedding: bool = False


# llama.cpp's GELU is the approximation by tanh, ours is exact: no target has "gelu" or "geglu".
TARGETS = (
    Target("granite", "rmsnorm", "swiglu", ("rope", "none"), adjacent_pairs=True, scales_embedding=True),
    Target("granite_swa", "rmsnorm", "swiglu", ("rope",), windowed=True, adjacent_pairs=True, scales_embedding=True),
    Target("qwen3", "rmsnorm", "swiglu", ("rope",), qk_norm=True),
    Target("refact", "rmsnorm", "swiglu", ("alibi",)),
    Target("arcee", "rmsnorm", "relu2", ("rope",), adjacent_pairs=True),
    Target("nemotron", "layernorm", "relu2", ("rope",)),
)


def supports(arch: ArchSpec) -> bool:
    """Whether an architecture of llama.cpp computes exactly what `arch` does."""
    return obstacle(arch) is None


def obstacle(arch: ArchSpec) -> str | None:
    """Why no architecture of llama.cpp computes what `arch` does, in a line; None where one does."""
    mixers = set(arch.layers())
    families = sorted({mixer.label for mixer in mixers if not isinstance(mixer, AttentionSpec)})
    if families:
        return f"its {' and '.join(families)} layers are no attention"
    if len(mixers) > 1:
        return "its attention layers differ from each other"
    if arch.embedding_rank is not None:
        return f"its embedding is factorised (embedding_rank {arch.embedding_rank})"
    if arch.feedforward.activation in ("gelu", "geglu"):
        return f"llama.cpp approximates the GELU of its feed-forward ({arch.feedforward.activation}) by tanh"
    if _matching(arch) is None:
        attention = _attention(arch)
        parts = [arch.norm, arch.feedforward.activation, f"position {arch.position}"]
        parts += ["qk_norm"] * attention.qk_norm + [f"window {attention.window}"] * _windowed(arch)
        return f"no architecture of llama.cpp combines {', '.join(parts)}"
    return None


def write_gguf(path: Path, model: StoredModel, vocabulary: Vocabulary | None = None, precision: Precision = "stored") -> None:
    """Write `model` as one GGUF file at `path`, whole or not at all.

    Args:
        vocabulary: written where llama.cpp's tokenizers can express it; without one the file reads and gives token ids.
        precision: "float32" writes the dequantised matrices, to compare logits without a rounding of activations.

    Raises:
        ConfigError: the package gguf is not installed, or llama.cpp has no architecture that computes what the model does.
    """
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise ConfigError("GGUF files need the package gguf; install it with `pip install 'codenas[gguf]'`") from None
    arch, reason = model.arch, obstacle(model.arch)
    if reason is not None:
        raise ConfigError(f"this architecture has no exact GGUF: {reason}")
    target = _matching(arch)
    assert target is not None
    ours = {name: Matrix.of(model.tensors, name, shape, model.storage) for name, shape in tensors(arch, model.vocab_size).items()}
    with atomic_file(path) as file:
        writer = GGUFWriter(file.name, target.name)  # opens the draft a second time
        _add_fields(writer, arch, target, model.vocab_size)
        add_vocabulary(writer, vocabulary, model.vocab_size)
        for name, matrix in _tensors(arch, target, ours):
            values, kind = matrix.encoded(precision == "float32")
            writer.add_tensor(name, values, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _matching(arch: ArchSpec) -> Target | None:
    wanted = (arch.norm, arch.feedforward.activation, _attention(arch).qk_norm, _windowed(arch))
    matching = (each for each in TARGETS if (each.norm, each.activation, each.qk_norm, each.windowed) == wanted)
    return next((each for each in matching if arch.position in each.positions), None)


def _attention(arch: ArchSpec) -> AttentionSpec:
    mixer = arch.pattern[0]
    assert isinstance(mixer, AttentionSpec)
    return mixer


def _windowed(arch: ArchSpec) -> bool:
    window = _attention(arch).window
    return window is not None and window < arch.context_len


def _hidden_width(arch: ArchSpec) -> int:
    """Hidden channels in the file: zero channels, which add nothing, fill the last block of the second matrix."""
    return math.ceil(arch.feedforward.hidden_width(arch.d_model) / BLOCK) * BLOCK


def _add_fields(writer: "GGUFWriter", arch: ArchSpec, target: Target, vocab_size: int) -> None:
    attention = _attention(arch)
    writer.add_vocab_size(vocab_size)
    writer.add_context_length(arch.context_len)
    writer.add_embedding_length(arch.d_model)
    writer.add_block_count(arch.n_layers)
    writer.add_feed_forward_length(_hidden_width(arch))
    writer.add_head_count(attention.n_heads)
    writer.add_head_count_kv(attention.n_kv_heads)
    (writer.add_layer_norm_rms_eps if arch.norm == "rmsnorm" else writer.add_layer_norm_eps)(EPSILON)
    if "rope" in target.positions:
        writer.add_rope_dimension_count(attention.head_width(arch.d_model))
        writer.add_rope_freq_base(ROTARY_BASE)
    if target.scales_embedding:
        writer.add_embedding_scale(math.sqrt(arch.d_model))
        writer.add_logit_scale(1.0)
    if target.name == "granite":
        writer.add_rope_scaling_finetuned(arch.position == "rope")  # llama.cpp's switch of Granite's rotary embeddings
    if target.windowed and attention.window is not None:
        writer.add_sliding_window(attention.window)
        writer.add_sliding_window_pattern([True] * arch.n_layers)


def _tensors(arch: ArchSpec, target: Target, ours: Mapping[str, Matrix]) -> Iterator[tuple[str, Matrix]]:
    """The tensors of the file by their names in llama.cpp; `ours` by our names."""
    embedding = ours["embedding.weight"]
    if target.scales_embedding:
        yield "token_embd.weight", embedding
    else:
        yield "token_embd.weight", Matrix(embedding.dequantised() * math.sqrt(arch.d_model))
    if not arch.tie_embeddings:
        yield "output.weight", ours["head.weight"]
    elif not target.scales_embedding:
        yield "output.weight", embedding
    yield from _norm("output_norm", arch.norm, ours["norm.weight"])
    for layer in range(arch.n_layers):
        prefix = f"blocks.{layer}."
        of_layer = {name.removeprefix(prefix): matrix for name, matrix in ours.items() if name.startswith(prefix)}
        for name, matrix in _layer(arch, target, of_layer):
            yield f"blk.{layer}.{name}", matrix


def _layer(arch: ArchSpec, target: Target, ours: Mapping[str, Matrix]) -> Iterator[tuple[str, Matrix]]:
    attention, hidden = _attention(arch), _hidden_width(arch)
    query, key = ours["mixer.query.weight"], ours["mixer.key.weight"]
    if target.adjacent_pairs and arch.position == "rope":
        order = _adjacent(attention.head_width(arch.d_model))
        query, key = query.with_rows(order), key.with_rows(order)
    yield from _norm("attn_norm", arch.norm, ours["mixer_norm.weight"])
    yield "attn_q.weight", query
    yield "attn_k.weight", key
    yield "attn_v.weight", ours["mixer.value.weight"]
    yield "attn_output.weight", ours["mixer.output.weight"]
    if target.qk_norm:
        yield "attn_q_norm.weight", ours["mixer.query_gain"]
        yield "attn_k_norm.weight", ours["mixer.key_gain"]
    if target.windowed:
        yield "attn_sinks.weight", Matrix(torch.full((attention.n_heads,), _NO_SINK))
    yield from _norm("ffn_norm", arch.norm, ours["feedforward_norm.weight"])
    if "feedforward.gate.weight" in ours:
        yield "ffn_gate.weight", ours["feedforward.gate.weight"].padded(rows=hidden)
    yield "ffn_up.weight", ours["feedforward.up.weight"].padded(rows=hidden)
    yield "ffn_down.weight", ours["feedforward.down.weight"].padded(inputs=hidden)


def _norm(name: str, kind: Norm, gain: Matrix) -> Iterator[tuple[str, Matrix]]:
    yield f"{name}.weight", gain
    if kind == "layernorm":  # llama.cpp's has a bias
        yield f"{name}.bias", Matrix(torch.zeros_like(gain.values))


def _adjacent(head_width: int) -> Tensor:
    """Where the rows of a head come from when channels i and i + width / 2 shall lie side by side, [head_width]."""
    return torch.arange(head_width).unflatten(0, (2, -1)).T.flatten()
