"""How a model comes by its weights."""

import pytest
import torch

from codenas.arch.mixers import MixerSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.model import LanguageModel, build_model, uninitialized_model
from tests.fakes import tiny_arch

MIXERS = (None, LinearAttentionSpec(n_heads=2), MambaSpec(head_width=8), RwkvSpec(head_width=8))


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.kind if mixer else "attention")
def test_no_weight_is_drawn_to_be_thrown_away(mixer: MixerSpec | None) -> None:
    """All draws are from the model's own generator; torch's global one would have been moved by any other."""
    before = torch.get_rng_state()
    build_model(tiny_arch(mixer, embedding_rank=4, tie_embeddings=False, position="absolute"), 50)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.kind if mixer else "attention")
def test_what_modules_set_is_set_where_nothing_is_drawn(mixer: MixerSpec | None) -> None:
    arch = tiny_arch(mixer)
    undrawn, plain = uninitialized_model(arch, 50), LanguageModel(arch, 50)
    set_by_modules = [name for name, parameter in plain.named_parameters() if parameter.ndim < 2]
    assert set_by_modules
    assert all(torch.equal(undrawn.get_parameter(name), plain.get_parameter(name)) for name in set_by_modules)
    assert all(torch.equal(own, other) for own, other in zip(undrawn.buffers(), plain.buffers(), strict=True))
