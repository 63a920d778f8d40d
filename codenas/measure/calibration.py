"""Some dozen architectures timed on one device, in sweeps: what a fit of its latency is made from."""

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
    """What was timed, in ms and in order. With a path every time is on the disk before it counts: an interrupted calibration is resumed.

    The file is for one list of architectures and one number of sweeps: the time at place i is of the i-th measurement of these.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.p50_ms = list(_read(path)) if path is not None and path.exists() else []

    def add(self, p50_ms: float) -> None:
        """Note the next one."""
        if self._path is not None:
            append_line(self._path, json.dumps({"p50_ms": p50_ms}))
        self.p50_ms.append(p50_ms)

    def remove(self) -> None:
        """Forget the file: its calibration is stored."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[float]:
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # torn by a kill: no prefix of an object is JSON, as one of a number is
            yield json.loads(line)["p50_ms"]


def measure_points(
    archs: Sequence[ArchSpec],
    vocab_size: int,
    sweeps: int,
    device: str = "cpu",
    times: Times | None = None,
    on_measured: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Time every architecture once a sweep, untrained, and keep its lowest latency. What `times` holds already is not timed again.

    Sweeps rather than repeats: other work on the machine comes in spells that are longer than a measurement. The uncertainty of
    a point is how far its second lowest lies above.

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
