"""What softmax attention costs beside its products."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codenas.arch import AttentionSpec
from codenas.arch.part import Position
from codenas.model import positions
from codenas.model.mixers import attention, build_mixer
from codenas.model.positions import attention_bias
from tests.fakes import CONTEXT as CONTEXT_LEN
from tests.fakes import drawn_model, tiny_arch

WIDTH, HEADS, CONTEXT = 128, 8, 512


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that an operation returned; those of a view are those of what it looks at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.size_bytes = max(self.size_bytes, *sizes, 0)
        return result


@pytest.mark.parametrize("position", ["rope", "alibi"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_decoded_token_copies_no_key_for_the_heads_that_share_it(rows: int, position: Position) -> None:
    """Else multi-query attention would read as much as multi-head attention for every token, whatever its cache holds."""
    spec = AttentionSpec(n_heads=HEADS, n_kv_heads=1)
    mixer = build_mixer(spec, tiny_arch(spec, d_model=WIDTH, context_len=CONTEXT, position=position)).eval()
    state = mixer.initial_state(rows, torch.device("cpu"), torch.float32)
    with torch.inference_mode(), Largest() as largest:
        mixer.extend(torch.ones(rows, 1, WIDTH), state, [CONTEXT - 1] * rows)
    keys_of_one_head = rows * CONTEXT * (WIDTH // HEADS) * 4
    assert largest.size_bytes < HEADS * keys_of_one_head


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_a_prompt_is_not_compared_with_empty_slots(position: Position) -> None:
    """Else reading one would cost the whole context, and more than that."""
    spec = AttentionSpec(n_heads=HEADS, n_kv_heads=HEADS)
    mixer = build_mixer(spec, tiny_arch(spec, d_model=WIDTH, context_len=CONTEXT, position=position)).eval()
    state = mixer.initial_state(1, torch.device("cpu"), torch.float32)
    with torch.inference_mode(), Largest() as largest:
        mixer.extend(torch.ones(1, CONTEXT // 16, WIDTH), state, [0])
    assert largest.size_bytes <= CONTEXT * WIDTH * 4


@pytest.mark.parametrize(("position", "window"), [("alibi", None), ("alibi", 8), ("rope", 8)])
def test_layers_that_see_alike_share_one_bias(position: Position, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has as many numbers as the context squared, for each head."""
    made: list[Tensor] = []

    def counted(*args: Any) -> Tensor:
        made.append(attention_bias(*args))
        return made[-1]

    monkeypatch.setattr(positions, "attention_bias", counted)
    monkeypatch.setattr(attention, "LONGEST_IN_BLOCKS", 0)  # as on a GPU
    spec = AttentionSpec(n_heads=2, n_kv_heads=1, window=window)
    model = drawn_model(tiny_arch(spec, n_layers=4, position=position))
    model(torch.zeros(1, CONTEXT_LEN, dtype=torch.long))
    assert len(made) == 1
