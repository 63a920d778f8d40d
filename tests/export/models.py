"""Small models with random weights and what a file of each storage holds of them."""

import torch
from torch import Tensor

from codenas.arch import ArchSpec, AttentionSpec
from codenas.arch.storage import Storage
from codenas.compress.stored import StoredModel
from codenas.model import LanguageModel, build_model

VOCAB_SIZE = 300
BASE = ArchSpec(d_model=64, n_layers=2, pattern=(AttentionSpec(n_heads=4, n_kv_heads=2, qk_norm=False),), context_len=64)


def attention(arch: ArchSpec = BASE, **fields: object) -> ArchSpec:
    """`arch` with other `fields` of its attention."""
    mixer = AttentionSpec.model_validate({**arch.pattern[0].model_dump(), **fields})
    return arch.model_copy(update={"pattern": (mixer,)})


def random_weights(arch: ArchSpec, seed: int = 0) -> dict[str, Tensor]:
    """Weights of which none is zero or one, so that each of them moves the logits."""
    weights, generator = build_model(arch, VOCAB_SIZE, seed).state_dict(), torch.Generator().manual_seed(seed)
    for name, weight in weights.items():
        spread = 0.2 if weight.ndim == 1 else weight.shape[-1] ** -0.5
        weights[name] = (weight.ndim == 1) + torch.randn(weight.shape, generator=generator) * spread
    return weights


def stored_model(arch: ArchSpec, storage: Storage) -> tuple[StoredModel, LanguageModel]:
    """A model as a file of `storage` holds it, and the same dequantised."""
    stored = StoredModel.packed(arch, VOCAB_SIZE, storage, random_weights(arch))
    model = build_model(arch, VOCAB_SIZE)
    model.load_state_dict(stored.weights())
    return stored, model.eval()
