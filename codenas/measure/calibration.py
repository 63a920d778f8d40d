"""The measurements of a calibration: a few dozen architectures timed on one device, in sweeps."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from codenas.arch.design import Design
from codenas.compress.stored import StoredModel
from codenas.decode.choice import AS_STORED
from codenas.files import append_line
from codenas.measure.latency import decoding_latency
from codenas.measure.latency_model import PROMPT_TOKENS, TOKENS, Point
from codenas.measure.served import served_context
from codenas.model import build_model

ROUNDS = 2


class Times:
    """Measured times in ms, in order. With a path every time is written to disk at once, so that an interrupted calibration is resumed.

    The file belongs to one list of designs and one number of sweeps: entry i is their i-th measurement.
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
    designs: Sequence[Design],
    vocab_size: int,
    sweeps: int,
    device: str = "cpu",
    times: Times | None = None,
    on_measured: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Time every design, untrained, once per sweep and keep its lowest latency. Measurements in `times` are not repeated.

    Sweeps rather than consecutive repeats: other work on the machine often lasts longer than a measurement. The uncertainty of a
    point is the difference between its lowest and second lowest latency.

    Raises:
        ValueError: fewer than two sweeps.
    """
    if sweeps < 2:
        raise ValueError(f"{sweeps} sweep gives no uncertainty; it takes at least 2")
    times = times or Times()
    for design in islice(cycle(designs), len(times.p50_ms), sweeps * len(designs)):
        times.add(decoding_latency(_untrained(design, vocab_size), device, TOKENS, PROMPT_TOKENS, ROUNDS).p50_ms)
        on_measured()
    by_storage = served_context(device).precision == AS_STORED
    return [_point(design, vocab_size, by_storage, times.p50_ms[place :: len(designs)]) for place, design in enumerate(designs)]


def _untrained(design: Design, vocab_size: int) -> StoredModel:
    arch = design.stored_arch
    return StoredModel.packed(arch, vocab_size, design.storage, build_model(arch, vocab_size).state_dict())


def _point(design: Design, vocab_size: int, by_storage: bool, found: Sequence[float]) -> Point:
    best, second = sorted(found)[:2]
    storage = design.storage if by_storage else None
    return Point(arch=design.stored_arch, storage=storage, vocab_size=vocab_size, p50_ms=best, p50_uncertainty_ms=second - best)
