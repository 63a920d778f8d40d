"""Random designs with random weights, and what torch says of them."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codenas.arch.cost import tensors as tensor_shapes
from codenas.arch.presets import FULL
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import Storage
from codenas.compress.quantise import pack, unpack
from codenas.decode.backend import ForwardBatch
from codenas.decode.native.backend import NativeBackend, NativeOptions
from codenas.decode.native.library import available_targets
from codenas.decode.native.structures import Tensors
from codenas.model import LanguageModel, build_model

needs_library = pytest.mark.skipif(not available_targets(), reason="the native library is not built: make native")


def random_arch(rng: random.Random, kind: str = "attention", context_len: int = 160) -> ArchSpec:
    """A small design of `full` whose layers are all of `kind`, pruned like every third one."""
    small = FULL.refined({"d_model": (40, 64, 72, 128, 192), "n_layers": (2,), "pattern": ((kind,),)})
    arch = small.sample(rng).stored_arch
    return arch.model_copy(
        update={"context_len": context_len, "embedding_rank": arch.embedding_rank and min(arch.embedding_rank, arch.d_model // 2)}
    )


def random_model(arch: ArchSpec, vocab_size: int, seed: int = 0) -> LanguageModel:
    """Every weight is drawn, gains included, so that logits have about unit variance and no two channels are alike."""
    model = build_model(arch, vocab_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
            else:
                parameter.add_(torch.rand(parameter.shape, generator=generator) - 0.5)
    return model.eval()


def stored(model: LanguageModel, storage: Storage | None) -> tuple[Tensors, LanguageModel]:
    """The tensors of `model` in `storage`, None being float32, and the model that they are."""
    if storage is None:
        return {name: value.detach().numpy() for name, value in model.state_dict().items()}, model
    tensors = pack(model.state_dict(), storage)
    rounded = build_model(model.arch, model.vocab_size).eval()
    rounded.load_state_dict(unpack(tensors, tensor_shapes(model.arch, model.vocab_size), storage))
    return {name: value.numpy() for name, value in tensors.items()}, rounded


def native(model: LanguageModel, tensors: Tensors, **options: Any) -> NativeBackend:
    return NativeBackend(model.arch, model.vocab_size, tensors, NativeOptions(**{"slots": 4, "max_tokens": 256, **options}))


def reference(model: LanguageModel, tokens: list[int]) -> NDArray[np.float32]:
    """Torch's logits of all `tokens`, [tokens, vocab_size]."""
    with torch.no_grad():
        logits: NDArray[np.float32] = model(torch.tensor([tokens]))[0].numpy()
    return logits


def batch_of(*parts: tuple[int, int, list[int]], wanted: list[int] | None = None) -> ForwardBatch:
    """Some tokens of some sequences, (slot, position of the first, tokens) each; all logits unless `wanted` says which."""
    tokens = np.array([token for _, _, ids in parts for token in ids], np.int32)
    slots = np.array([slot for slot, _, ids in parts for _ in ids], np.int32)
    positions = np.array([start + i for _, start, ids in parts for i in range(len(ids))], np.int32)
    return ForwardBatch(tokens, slots, positions, np.arange(len(tokens), dtype=np.int32) if wanted is None else np.array(wanted, np.int32))


def distance(logits: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, relative to the spread of the wanted logits."""
    return float(np.abs(logits - wanted).max() / wanted.std())
