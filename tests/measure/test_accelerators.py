"""GPUs by words of their names."""

import pytest

from codenas.measure.accelerators import is_called, peak_flops


@pytest.mark.parametrize(
    ("gpu", "wanted", "called"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx 4090", True),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090", True),
        ("NVIDIA GeForce RTX 4090", "RTX 409", False),
        ("NVIDIA GeForce RTX 4090", "4090 RTX", False),
        ("NVIDIA A100-SXM4-80GB", "A100", True),
        ("NVIDIA L40", "L4", False),
    ],
)
def test_a_gpu_is_of_a_kind_by_whole_words_in_a_row(gpu: str, wanted: str, called: bool) -> None:
    assert is_called(gpu, wanted) == called


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [("NVIDIA H100 PCIe", 756e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA GeForce RTX 5090", 209.5e12), ("NVIDIA L40S", 362e12),
     ("NVIDIA Tesla X1", None)],
)  # fmt: skip
def test_the_longest_name_of_a_gpu_gives_its_peak(gpu: str, peak: float | None) -> None:
    assert peak_flops(gpu) == peak
