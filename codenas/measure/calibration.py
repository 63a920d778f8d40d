"""Some dozen architectures timed on one device, in sweeps: what a fit of its latency is made from."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from codenas.arch.spec import ArchSpec
from codenas.measure.latency import decoding_latency
from codenas.measure.latency_model import PROMPT_TOKENS, TOKENS, Point
from codenas.model import build_model

ROUNDS = 2


def measure_points(
    archs: Sequence[ArchSpec],
    vocab_size: int,
    sweeps: int,
    device: str = "cpu",
    on_measured: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Time every architecture once a sweep, untrained, and keep its quietest.

    Sweeps rather than repeats: other work on the machine comes in spells that are longer than a measurement. The uncertainty of
    a point is how far its second quietest sweep lies above.

    Raises:
        ValueError: fewer than two sweeps.
    """
    if sweeps < 2:
        raise ValueError(f"{sweeps} sweep says nothing of its uncertainty; it takes at least 2")
    times: list[list[float]] = [[] for _ in archs]
    for _ in range(sweeps):
        for arch, found in zip(archs, times, strict=True):
            model = build_model(arch, vocab_size).to(device).eval()
            found.append(decoding_latency(model, TOKENS, PROMPT_TOKENS, ROUNDS).p50_ms)
            on_measured()
    return [_point(arch, vocab_size, found) for arch, found in zip(archs, times, strict=True)]


def device_name(device: str = "cpu") -> str:
    """What the device calls itself."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not a Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _point(arch: ArchSpec, vocab_size: int, found: Sequence[float]) -> Point:
    quietest, next_quietest = sorted(found)[:2]
    return Point(arch=arch, vocab_size=vocab_size, p50_ms=quietest, p50_uncertainty_ms=next_quietest - quietest)
