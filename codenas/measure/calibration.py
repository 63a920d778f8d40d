"""The measurements of a calibration: a few dozen architectures timed on one device, in sweeps."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from codenas.arch.spec import ArchSpec
from codenas.files import append_line
from codenas.measure.latency import decoding_latency
from codenas.measure.latency_model import PROMPT_TOKENS, TOKENS, Point
from codenas.model import build_model

ROUNDS = 2


class Times:
    """Measured times in ms, in order. With a path every time is written to disk at once, so that an interrupted calibration is resumed.

    The file belongs to one list of architectures and one number of sweeps: entry i is their i-th measurement.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.p50_ms = list(_read(path)) if path is not None and path.exists() else []

    def add(self, p50_ms: float) -> None:
        """Append a time."""
        if self._path is not None:
            append_line(self._path, json.dumps({"p50_ms": p50_ms}))
        self.p50_ms.append(p50_ms)

    def remove(self) -> None:
        """Remove the file, once its calibration is stored."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[float]:
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # an incomplete last line, after a kill
            yield json.loads(line)["p50_ms"]


def measure_points(
    archs: Sequence[ArchSpec],
    vocab_size: int,
    sweeps: int,
    device: str = "cpu",
    times: Times | None = None,
    on_measured: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Time every architecture, untrained, once per sweep and keep its lowest latency. Measurements in `times` are not repeated.

    Sweeps rather than consecutive repeats: other work on the machine often lasts longer than a measurement. The uncertainty of a
    point is the difference between its lowest and second lowest latency.

    Raises:
        ValueError: fewer than two sweeps.
    """
    if sweeps < 2:
        raise ValueError(f"{sweeps} sweep gives no uncertainty; it takes at least 2")
    times = times or Times()
    for arch in islice(cycle(archs), len(times.p50_ms), sweeps * len(archs)):
        model = build_model(arch, vocab_size).to(device).eval()
        times.add(decoding_latency(model, TOKENS, PROMPT_TOKENS, ROUNDS).p50_ms)
        on_measured()
    return [_point(arch, vocab_size, times.p50_ms[place :: len(archs)]) for place, arch in enumerate(archs)]


def _point(arch: ArchSpec, vocab_size: int, found: Sequence[float]) -> Point:
    best, second = sorted(found)[:2]
    return Point(arch=arch, vocab_size=vocab_size, p50_ms=best, p50_uncertainty_ms=second - best)
