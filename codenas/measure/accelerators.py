"""GPUs by their names: whether one is of a kind, and the peak of its arithmetic as its maker states it."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from codenas.errors import ConfigError

# FLOP/s of dense bfloat16 products with float32 sums, from NVIDIA's data sheets and architecture white papers. Of several names that
# a GPU has, the longest counts.
PEAK_FLOPS: Mapping[str, float] = MappingProxyType(
    {
        "RTX 3080": 59.5e12, "RTX 3090": 71.2e12, "RTX 4070 Ti": 80.2e12, "RTX 4080": 97.5e12, "RTX 4090": 165.2e12,
        "RTX 5070 Ti": 87.9e12, "RTX 5080": 112.6e12, "RTX 5090": 209.5e12, "RTX A6000": 154.8e12, "RTX 6000 Ada": 364.2e12,
        "L4": 121e12, "L40": 181e12, "L40S": 362e12, "A10": 125e12, "A30": 165e12, "A100": 312e12, "H100 PCIe": 756e12, "H100": 989e12,
        "H200": 989e12, "B200": 2250e12,
    }
)  # fmt: skip


def is_called(gpu: str, wanted: str) -> bool:
    """Whether the name of a GPU has the words of `wanted` in a row: an `NVIDIA GeForce RTX 4090` is called `RTX 4090`, an L40 not L4."""
    words, sought = _words(gpu), _words(wanted)
    return any(words[start : start + len(sought)] == sought for start in range(len(words)))


def peak_flops(gpu: str) -> float | None:
    """The peak of `gpu` in FLOP/s, by words of its name; None where it is not listed."""
    called = [name for name in PEAK_FLOPS if is_called(gpu, name)]
    return PEAK_FLOPS[max(called, key=len)] if called else None


def require_peak_flops(gpu: str) -> float:
    """As `peak_flops`.

    Raises:
        ConfigError: the peak is not listed.
    """
    peak = peak_flops(gpu)
    if peak is None:
        raise ConfigError(f"the peak of a GPU called {gpu!r} is not known; known are {', '.join(sorted(PEAK_FLOPS))}")
    return peak


def _words(name: str) -> list[str]:
    return re.split(r"[\s\-_]+", name.strip().lower())
