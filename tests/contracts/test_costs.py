"""The contract of the closed forms: over all presets and families, every figure is that of the real model.

No figure depends on what the weights are, so they are whatever memory holds. `FlopCounterMode` counts matrix products and
convolutions; of the ways in which torch can attend it knows the plain one, two batched products, so that one is asked for.
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codenas.arch import ArchSpec, MixerSpec, SearchSpace, cost, preset
from codenas.arch.mixers import MIXER_SPECS
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.arch.presets import PRESETS
from codenas.arch.storage import STORAGES, Storage
from codenas.compress.quantise import pack
from codenas.model import LanguageModel, build_model, count_parameters, uninitialized_model
from codenas.model.mixers import build_mixer
from tests.fakes import tiny_arch

VOCAB_SIZE, DRAWS, PER_PATTERN = 4_096, 200, 1
TOKENS, CACHED = 97, 70  # neither is a multiple of a chunk, and 70 is more than the smallest window
FAMILIES: tuple[MixerSpec, ...] = tuple(spec(kind=spec.family()) for spec in MIXER_SPECS)


def some_of_every_pattern(space: SearchSpace) -> list[ArchSpec]:
    """The first draws with each pattern of `space`."""
    rng, seen, chosen = random.Random(0), Counter[tuple[str, ...]](), []
    for arch in (space.sample(rng).arch for _ in range(DRAWS)):
        kinds = tuple(mixer.kind for mixer in arch.pattern)
        seen[kinds] += 1
        if seen[kinds] <= PER_PATTERN:
            chosen.append(arch)
    assert set(seen) == set(space.choices.get("pattern", seen))
    return chosen


SAMPLES = {f"{name}-{number}": arch for name in PRESETS for number, arch in enumerate(some_of_every_pattern(preset(name)))}
ODD: dict[str, dict[str, Any]] = {  # what no preset draws
    "two windows": {"pattern": (AttentionSpec(n_heads=2, n_kv_heads=1, qk_norm=False, window=3), AttentionSpec(n_heads=2, n_kv_heads=2))},
    "cut pattern": {"pattern": (RwkvSpec(head_width=8, rank=3, gate_rank=5), MambaSpec(head_width=16, conv_width=2)), "n_layers": 3},
    "learned positions": {"position": "absolute", "norm": "layernorm"},
    "small table": {"embedding_rank": 4},
    "two small tables": {"embedding_rank": 4, "tie_embeddings": False},
    "two tables": {"tie_embeddings": False},
}
SAMPLES |= {name: tiny_arch(context_len=TOKENS, **fields) for name, fields in ODD.items()}


@pytest.fixture(params=SAMPLES)
def arch(request: pytest.FixtureRequest) -> ArchSpec:
    return SAMPLES[request.param]


@pytest.fixture(autouse=True)
def _plain_attention() -> Iterator[None]:
    with sdpa_kernel(SDPBackend.MATH):
        yield


def counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def bytes_in(state: Any) -> int:
    """Bytes of all tensors of a state; states may hold states."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    return sum(bytes_in(getattr(state, field.name)) for field in dataclasses.fields(state)) if dataclasses.is_dataclass(state) else 0


def test_weights_flops_and_state_are_those_of_the_model(arch: ArchSpec) -> None:
    model = uninitialized_model(arch, VOCAB_SIZE).eval()
    assert cost.tensors(arch, VOCAB_SIZE) == {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert cost.parameters(arch, VOCAB_SIZE) == count_parameters(model)

    tokens = torch.zeros(1, min(TOKENS, arch.context_len), dtype=torch.long)
    with torch.inference_mode():
        assert counted(lambda: model(tokens)) == cost.forward_flops(arch, VOCAB_SIZE, tokens.shape[1])
        state = model.initial_state(1)
        state.lengths[:] = [CACHED]
        assert counted(lambda: model.extend(tokens[:, :1], state)) == cost.decoding_flops(arch, VOCAB_SIZE, CACHED)

    assert sum(map(bytes_in, model.initial_state(1).layers)) == 4 * cost.state_elements(arch, arch.context_len)
    mixers = [build_mixer(mixer, arch) for mixer in arch.layers()]
    for dtype in (torch.float32, torch.bfloat16):
        held = [mixer.initial_state(1, model.device, dtype) for mixer in mixers]
        assert sum(map(bytes_in, held)) == cost.state_bytes(arch, arch.context_len, dtype.itemsize)


@pytest.mark.parametrize("mixer", FAMILIES, ids=lambda mixer: mixer.kind)
@pytest.mark.parametrize("tokens", [2, 32, 64, 65, 256, 300, 1100])
def test_a_forward_pass_of_any_length_costs_what_is_counted(mixer: MixerSpec, tokens: int) -> None:
    arch = ArchSpec(n_layers=2, pattern=(mixer,), context_len=1100)
    model, window = LanguageModel(arch, VOCAB_SIZE), torch.zeros(1, tokens, dtype=torch.long)
    assert counted(lambda: model(window)) == cost.forward_flops(arch, VOCAB_SIZE, tokens)


@pytest.mark.parametrize("mixer", FAMILIES, ids=lambda mixer: mixer.kind)
@pytest.mark.parametrize("fields", [{}, {"embedding_rank": 64}, {"embedding_rank": 64, "tie_embeddings": False}], ids=str)
def test_a_training_step_costs_three_forward_passes(mixer: MixerSpec, fields: dict[str, Any]) -> None:
    """To 0.2 %: the gradient of Mamba's taps is summed per element, and nobody wants that of RWKV's empty first memory."""
    arch = ArchSpec(n_layers=2, pattern=(mixer,), **fields)
    model, batch = LanguageModel(arch, VOCAB_SIZE), torch.zeros(2, arch.context_len, dtype=torch.long)
    found = counted(lambda: model(batch).sum().backward()) / batch.numel()
    assert found == pytest.approx(cost.training_flops_per_token(arch, VOCAB_SIZE), rel=0.002)


@pytest.mark.parametrize("window", [None, 16, 512])
def test_attention_remembers_what_its_window_sees(window: int | None) -> None:
    arch = ArchSpec(n_layers=1, pattern=(AttentionSpec(n_heads=4, n_kv_heads=2, window=window),), context_len=64)
    kept = [cost.state_bytes(arch, tokens) // (2 * 2 * 64 * 4) for tokens in (0, 1, 16, 17, 64)]
    assert kept == ([0, 1, 16, 16, 16] if window == 16 else [0, 1, 16, 17, 64])


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", PRESETS)
def test_the_stored_file_has_the_bytes_of_the_closed_form(name: str, storage: Storage, tmp_path: Path) -> None:
    rng = random.Random(0)
    arch = min((preset(name).sample(rng).arch for _ in range(20)), key=lambda arch: cost.parameters(arch, VOCAB_SIZE))
    save_file(pack(dict(build_model(arch, VOCAB_SIZE).named_parameters()), storage), tmp_path / "weights")
    assert (tmp_path / "weights").stat().st_size == cost.stored_bytes(arch, VOCAB_SIZE, storage)


def test_the_parts_of_a_model_are_its_modules() -> None:
    arch = tiny_arch(MambaSpec(head_width=16), embedding_rank=4, position="absolute")
    names = [part.name for part in cost.parts(arch, VOCAB_SIZE)]
    assert names[:4] == ["embedding", "widen", "positions", "blocks.0.mixer_norm"] and names[-3:] == ["norm", "narrow", "head"]
    modules = dict(LanguageModel(arch, VOCAB_SIZE).named_modules())
    assert all(part.name in modules for part in cost.parts(arch, VOCAB_SIZE) if part.shapes)
