"""GGUF files: what they hold, and that llama.cpp computes from them what the model does."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codenas.arch import ArchSpec
from codenas.arch.cost import tensors
from codenas.arch.presets import preset
from codenas.arch.storage import STORAGES, Storage
from codenas.compress.stored import StoredModel
from codenas.decode.backend import ForwardBatch, Logits
from codenas.errors import ConfigError
from codenas.export.gguf import TARGETS, obstacle, supports, write_gguf
from codenas.export.gguf_matrix import Matrix
from codenas.measure.llama_cpp import LlamaCpp
from codenas.vocab import Bpe
from tests.export.models import BASE, VOCAB_SIZE, attention, random_weights, stored_model

gguf = pytest.importorskip("gguf")

PROMPT, TOKENS = 12, 24
EXPORTED = {
    "granite": BASE,
    "granite, without positions": BASE.model_copy(update={"position": "none"}),
    "granite_swa": attention(window=8),
    "qwen3": attention(qk_norm=True),
    "qwen3, untied": attention(qk_norm=True).model_copy(update={"tie_embeddings": False}),
    "refact": BASE.model_copy(update={"position": "alibi"}),
    "refact, six heads": attention(BASE.model_copy(update={"position": "alibi", "d_model": 96}), n_heads=6, n_kv_heads=3),
    "arcee": BASE.model_copy(update={"feedforward": BASE.feedforward.model_copy(update={"activation": "relu2"})}),
    "nemotron": BASE.model_copy(
        update={"norm": "layernorm", "feedforward": BASE.feedforward.model_copy(update={"activation": "relu2", "multiplier": 2.0})}
    ),
}


@pytest.mark.parametrize("arch", EXPORTED.values(), ids=EXPORTED)
def test_llama_cpp_computes_the_same_logits(arch: ArchSpec, tmp_path: Path) -> None:
    stored, model = stored_model(arch, "float16")
    write_gguf(tmp_path / "model.gguf", stored, precision="float32")
    found, expected = _llama_cpp(tmp_path / "model.gguf", exact=True), _ours(model)
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize(("storage", "bound"), [("float16", 0.02), ("int8", 0.15), ("int4", 0.15)])
def test_stored_weights_are_not_quantised_again(storage: Storage, bound: float, tmp_path: Path) -> None:
    """What remains is the rounding of activations, in llama.cpp to float16 or int8."""
    stored, model = stored_model(BASE, storage)
    write_gguf(tmp_path / "model.gguf", stored)
    found, expected = _llama_cpp(tmp_path / "model.gguf"), _ours(model)
    assert np.sqrt(np.square(found - expected).mean()) < bound * expected.std()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", [(40, 64), (40, 96), (8, 72)], ids=str)
def test_the_bytes_of_a_matrix_are_its_dequantised_values(storage: Storage, shape: tuple[int, int]) -> None:
    from codenas.compress.quantise import pack

    stored = pack({"m": torch.randn(shape, generator=torch.Generator().manual_seed(0))}, storage)
    matrix = Matrix.of(stored, "m", shape, storage)
    values, kind = matrix.encoded()
    assert np.array_equal(gguf.quants.dequantize(values, kind), matrix.dequantised().numpy())
    padded = matrix.padded(rows=shape[0] + 8, inputs=128)
    values, kind = padded.encoded()
    found = gguf.quants.dequantize(values, kind)
    assert found.shape == (shape[0] + 8, 128)
    assert np.array_equal(found[: shape[0], : shape[1]], matrix.dequantised().numpy())
    assert not found[shape[0] :].any() and not found[:, shape[1] :].any()


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (preset("small").base.model_copy(update={"pattern": preset("small").mixers[:1]}), "linear attention layers are no attention"),
        (BASE.model_copy(update={"embedding_rank": 16}), "its embedding is factorised (embedding_rank 16)"),
        (BASE.model_copy(update={"feedforward": BASE.feedforward.model_copy(update={"activation": "geglu"})}), "by tanh"),
        (BASE.model_copy(update={"norm": "groupnorm"}), "combines groupnorm, swiglu, position rope"),
        (BASE.model_copy(update={"position": "absolute"}), "combines rmsnorm, swiglu, position absolute"),
        (attention(qk_norm=True, window=8), "combines rmsnorm, swiglu, position rope, qk_norm, window 8"),
        (BASE.model_copy(update={"n_layers": 2, "pattern": (*BASE.pattern, *attention(window=8).pattern)}), "differ from each other"),
    ],
)
def test_what_has_no_exact_file_is_refused_in_a_line(arch: ArchSpec, reason: str, tmp_path: Path) -> None:
    assert not supports(arch) and reason in str(obstacle(arch))
    with pytest.raises(ConfigError, match="this architecture has no exact GGUF"):
        write_gguf(tmp_path / "model.gguf", StoredModel(arch, VOCAB_SIZE, "float16", {}))
    assert not list(tmp_path.iterdir())


def test_a_window_of_the_whole_context_is_none() -> None:
    assert obstacle(attention(window=BASE.context_len)) is None


def test_whatever_is_supported_is_written(tmp_path: Path) -> None:
    """Over draws of a preset; and every architecture of llama.cpp that is named is reached by the tests above."""
    rng = random.Random(0)
    drawn = [preset("tiny").sample(rng).stored_arch for _ in range(400)]
    supported = [arch for arch in drawn if supports(arch)]
    assert len(supported) >= 3
    for arch in supported[:8]:
        ours = {name: torch.zeros(shape) for name, shape in tensors(arch, VOCAB_SIZE).items()}
        write_gguf(tmp_path / "model.gguf", StoredModel(arch, VOCAB_SIZE, "float16", ours))
        assert (tmp_path / "model.gguf").stat().st_size > 0
    assert {name.partition(",")[0] for name in EXPORTED} == {target.name for target in TARGETS}


def test_the_tokenizer_of_the_file_gives_the_ids_of_the_vocabulary(tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    text = "def naïve(x):\n        return x  # <|endoftext|> 数\n\n"
    vocabulary = Bpe.train([text * 4, "for value in values:\n    total += value\n" * 9], VOCAB_SIZE)
    stored = {name: weight.half() for name, weight in random_weights(BASE).items()}
    stored["embedding.weight"] = stored["embedding.weight"][: vocabulary.size]
    write_gguf(tmp_path / "model.gguf", StoredModel(BASE, vocabulary.size, "float16", stored), vocabulary)
    engine = LlamaCpp(tmp_path / "model.gguf", 1, 1, BASE.context_len)
    inside: Any = llama_cpp.llama_model_get_vocab(engine._model)
    ids, data = (llama_cpp.llama_token * 200)(), text.encode()
    count = llama_cpp.llama_tokenize(inside, data, len(data), ids, 200, False, False)
    assert ids[:count] == vocabulary.encode(text)
    assert llama_cpp.llama_vocab_eos(inside) == vocabulary.specials["<|endoftext|>"]
    assert llama_cpp.llama_vocab_fim_mid(inside) == vocabulary.specials["<fim_middle>"]


def _tokens() -> "np.ndarray[Any, np.dtype[np.int32]]":
    return np.random.default_rng(0).integers(0, VOCAB_SIZE, TOKENS, dtype=np.int32)


def _llama_cpp(path: Path, exact: bool = False) -> Logits:
    """Logits after every token: a prompt at once, then one token at a time."""
    pytest.importorskip("llama_cpp")
    engine = LlamaCpp(path, 1, 1, BASE.context_len, exact=exact)
    found = [engine.forward(_batch(0, PROMPT)).copy()]
    found += [engine.forward(_batch(position, position + 1)).copy() for position in range(PROMPT, TOKENS)]
    return np.concatenate(found)


def _batch(start: int, stop: int) -> ForwardBatch:
    count = stop - start
    return ForwardBatch(
        _tokens()[start:stop], np.zeros(count, np.int32), np.arange(start, stop, dtype=np.int32), np.arange(count, dtype=np.int32)
    )


@torch.inference_mode()
def _ours(model: Any) -> Logits:
    logits: Logits = model(torch.from_numpy(_tokens())[None].long())[0].numpy()
    return logits
