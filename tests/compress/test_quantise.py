"""Rounding to few bits: no weight moves by more than half a scale, packing loses nothing, a file holds what its layout says."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codenas.arch.part import Shapes
from codenas.arch.storage import GROUP, STORAGES, Storage, file_bytes, layout
from codenas.compress.quantise import (
    dequantise_int4,
    dequantise_int8,
    pack,
    pack_pairs,
    quantise_int4,
    quantise_int8,
    unpack,
    unpack_pairs,
)

TYPES = {torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8"}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# The last three: rows whose scale float16 cannot hold well or at all, rows of nothing, the largest float16.
MATRICES = {
    "square": drawn(128, 128),
    "one group": drawn(3, GROUP),
    "odd": drawn(5, 2 * GROUP + 7),
    "narrow": drawn(4, 1),
    "outlier": torch.cat((drawn(8, 127), torch.full((8, 1), 90.0)), 1),
    "subnormal": drawn(6, 70) * torch.logspace(-9, -3, 6)[:, None],
    "zero": torch.zeros(4, 65),
    "largest": torch.full((2, 64), torch.finfo(torch.float16).max),
}


@pytest.mark.parametrize("name", MATRICES)
def test_int8_moves_no_weight_by_more_than_half_the_scale_of_its_row(name: str) -> None:
    numbers, scales = quantise_int8(MATRICES[name])
    error = (dequantise_int8(numbers, scales) - MATRICES[name]).abs()
    assert numbers.dtype == torch.int8 and scales.dtype == torch.float16 and numbers.abs().max() <= 127
    assert (error <= 0.5001 * scales.float()[:, None]).all()


@pytest.mark.parametrize("name", MATRICES)
def test_int4_moves_no_weight_by_more_than_half_the_scale_of_its_group(name: str) -> None:
    matrix = MATRICES[name]
    numbers, scales = quantise_int4(matrix)
    error = (dequantise_int4(numbers, scales) - matrix).abs()
    assert numbers.shape == matrix.shape and numbers.abs().max() <= 7
    assert (error <= 0.5001 * scales.float().repeat_interleave(GROUP, 1)[:, : matrix.shape[1]]).all()


def test_the_mean_error_is_that_of_uniform_rounding() -> None:
    """A normal row of 128 has its largest at about 2.8: steps of 2.8 / 127, an error of a step / sqrt(12); 2.4 / 7 in groups."""
    matrix = drawn(512, 128)
    for quantised, expected in ((dequantise_int8(*quantise_int8(matrix)), 0.0063), (dequantise_int4(*quantise_int4(matrix)), 0.103)):
        assert float((quantised - matrix).square().mean().sqrt()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", MATRICES)
def test_what_is_rounded_stays_when_it_is_rounded_again(name: str) -> None:
    in_8, in_4 = dequantise_int8(*quantise_int8(MATRICES[name])), dequantise_int4(*quantise_int4(MATRICES[name]))
    assert torch.allclose(dequantise_int8(*quantise_int8(in_8)), in_8, rtol=2e-3, atol=1e-7)
    assert torch.allclose(dequantise_int4(*quantise_int4(in_4)), in_4, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("inputs", [1, 2, 63, 64, 65])
def test_pairs_come_out_as_they_went_in(inputs: int) -> None:
    numbers = torch.randint(-7, 8, (9, inputs), dtype=torch.int8, generator=torch.Generator().manual_seed(inputs))
    packed = pack_pairs(numbers)
    assert packed.shape == (9, (inputs + 1) // 2) and packed.dtype == torch.uint8
    assert torch.equal(unpack_pairs(packed, inputs), numbers)


def test_the_first_of_a_pair_is_in_the_low_half() -> None:
    assert pack_pairs(torch.tensor([[-7, 7, 0]], dtype=torch.int8)).tolist() == [[0xF1, 0x88]]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_file_holds_the_tensors_of_its_layout_and_its_bytes(storage: Storage, tmp_path: Path) -> None:
    weights = {f"matrices.{name}": matrix for name, matrix in MATRICES.items()} | {"gain": drawn(33), "é": drawn(7, 1, 4)}
    shapes: Shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    save_file(pack(weights, storage), tmp_path / "stored")
    stored = load_file(tmp_path / "stored")
    planned = layout(shapes, storage)
    found = {name: (TYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in stored.items()}
    assert found == {name: (tensor.dtype, tensor.shape) for name, tensor in planned.items()}
    assert (tmp_path / "stored").stat().st_size == file_bytes(planned)
    read = unpack(stored, shapes, storage)
    assert read.keys() == weights.keys() and all(tensor.dtype == torch.float32 for tensor in read.values())
    assert torch.equal(read["gain"], weights["gain"].half().float())
    assert torch.equal(read["é"], weights["é"].half().float())
