"""Latency of an architecture that was never built, from a fit of some dozen measured ones: one calibration per device.

A token's time is taken as a sum: so much for the token, so much for each layer of a kind and each option that adds work, so much
for each megabyte that is read, and more for those that fit no cache. Weights, head and state share a price: all are read once a
token. The prices are found by least squares of relative errors, none below zero. A
calibration carries its own validation: every measured architecture is predicted from all the others (leave one out).
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from codenas.arch import cost
from codenas.arch.spec import GATED, ArchSpec
from codenas.errors import ConfigError
from codenas.files import without_bom, write_atomic
from codenas.measure.timed_tokens import WARMUP_TOKENS, lengths_that_fit
from codenas.metrics import LatencyContext

FLOAT32_BYTES = 4  # decoding reads float32, whatever the file stores
TOKENS, PROMPT_TOKENS = 32, 64  # of every measurement
CACHES_MB = (2, 8, 32)  # where a megabyte more may begin to cost more: the sizes that caches of processors have
MIN_POINTS = 8
RESAMPLES = 2_000
_LAYERS = "layers of "
_MIN_RATIO = 0.01

Vector = NDArray[np.float64]


_FORMER = {"turned queries": "rotary embeddings", "sloped scores": "ALiBi biases"}  # features, as earlier versions called them


def _renamed(prices: dict[str, float]) -> dict[str, float]:
    return {_FORMER.get(name, name): price for name, price in prices.items()}


class Frozen(BaseModel):
    """Base of what is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(Frozen):
    """One measured architecture; milliseconds per token as `decoding_latency` gives them."""

    arch: ArchSpec
    vocab_size: int
    p50_ms: float
    p50_uncertainty_ms: float


class Prediction(Frozen):
    """A latency that was not measured. Nine of ten architectures of the calibration lie between `low_ms` and `high_ms`."""

    p50_ms: float
    low_ms: float
    high_ms: float


class Calibration(Frozen):
    """What a device takes for what.

    Attributes:
        device: its name, or the one that the user gave it.
        measured_on: what the points were measured on; None where an earlier version measured them.
        prices: milliseconds per unit of every feature that was measured.
        left_out: predicted over measured of every point, with the prices that the other points give.
    """

    schema_version: Literal[1] = 1
    device: str
    threads: int
    points: tuple[Point, ...]
    prices: Annotated[dict[str, float], AfterValidator(_renamed)]
    left_out: tuple[float, ...]
    measured_on: LatencyContext | None = None

    @classmethod
    def fit(cls, device: str, threads: int, points: Sequence[Point], measured_on: LatencyContext | None = None) -> Self:
        """The calibration that `points` give.

        Raises:
            ConfigError: there are too few of them.
        """
        if len(points) < MIN_POINTS:
            raise ConfigError(f"{len(points)} architectures are too few to fit a device; measure at least {MIN_POINTS}")
        left_out = []
        for number, point in enumerate(points):
            prices = _fit([*points[:number], *points[number + 1 :]])
            left_out.append(_price(features(point.arch, point.vocab_size), prices) / point.p50_ms)
        prices = _fit(points)
        return cls(device=device, threads=threads, points=tuple(points), prices=prices, left_out=tuple(left_out), measured_on=measured_on)

    @property
    def context(self) -> LatencyContext:
        """What its latencies are of; in a file of an earlier version the device has the name that the user gave it."""
        return self.measured_on or LatencyContext(device=self.device, threads=self.threads)

    def missing_kinds(self, kinds: Iterable[str]) -> list[str]:
        """Those of `kinds` of mixers that no measured architecture has: their latency cannot be predicted."""
        return sorted(kind for kind in kinds if _LAYERS + kind not in self.prices)

    def predicted_latency(self, arch: ArchSpec, vocab_size: int) -> Prediction:
        """What decoding `arch` would take on this device.

        Raises:
            ConfigError: it has a mixer that no measured architecture has.
        """
        wanted = features(arch, vocab_size)
        unknown = [name for name in wanted if name not in self.prices and name.startswith(_LAYERS)]
        if unknown:
            raise ConfigError(f"the calibration of {self.device!r} has measured no {unknown[0]}; calibrate over a space that has some")
        p50_ms = _price(wanted, self.prices)
        # The only one of its kind may be predicted at nothing when it is left out: its kind has no price then.
        most, least = np.quantile(np.maximum(self.left_out, _MIN_RATIO), (0.95, 0.05))
        return Prediction(p50_ms=p50_ms, low_ms=p50_ms / max(1.0, float(most)), high_ms=p50_ms / min(1.0, float(least)))

    def median_error(self) -> tuple[float, float, float]:
        """The median relative error when one is left out, and the 95 % interval of that median over resampled points."""
        errors = [abs(ratio - 1) for ratio in self.left_out]
        rng = random.Random(0)
        medians = sorted(median(rng.choices(errors, k=len(errors))) for _ in range(RESAMPLES))
        return median(errors), medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]

    def save(self, path: Path) -> None:
        """Write the calibration to `path`, whole or not at all."""
        write_atomic(path, self.model_dump_json(indent=2))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ConfigError: there is no such file, it cannot be read, or it holds no calibration.
        """
        try:
            return cls.model_validate_json(without_bom(path.read_bytes()))
        except FileNotFoundError:
            raise ConfigError(f"there is no calibration {path}; make one with `codenas device calibrate --output {path}`") from None
        except OSError as error:
            raise ConfigError(
                f"the calibration {path} cannot be read: {error.strerror}; name a file of `codenas device calibrate`"
            ) from error
        except ValidationError as error:
            raise ConfigError(f"{path} is no calibration: {error.errors()[0]['msg']}; make one with `codenas device calibrate`") from error


def features(arch: ArchSpec, vocab_size: int) -> dict[str, float]:
    """What a decoded token of `arch` is charged for, half-way through the tokens that a measurement times; no zeros.

    Raises:
        ConfigError: its context is too short to be timed.
    """
    try:
        prompt, tokens = lengths_that_fit(arch.context_len, TOKENS, PROMPT_TOKENS)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    layers = arch.layers()
    megabytes = _bytes_read(arch, vocab_size, prompt + WARMUP_TOKENS + tokens // 2) / 1e6
    found: dict[str, float] = {
        "tokens": 1,
        "megabytes": megabytes,
        **{f"megabytes beyond {cache}": max(0.0, megabytes - cache) for cache in CACHES_MB},
        "gated feed-forwards": arch.n_layers * (arch.feedforward.activation in GATED),
        "groupnorms": arch.n_layers * (arch.norm == "groupnorm"),
        "rmsnorms": arch.n_layers * (arch.norm == "rmsnorm"),
    }
    for mixer in layers:
        for name in (_LAYERS + mixer.kind, *mixer.timed_operations(arch.position)):
            found[name] = found.get(name, 0) + 1
    return {name: value for name, value in found.items() if value}


def _bytes_read(arch: ArchSpec, vocab_size: int, cached: int) -> float:
    """Of matrices, head and state, for one token behind `cached`; a matrix is read once for a multiply-add per number."""
    read = sum(part.weight_flops for part in cost.parts(arch, vocab_size)) // 2
    return FLOAT32_BYTES * read + cost.state_bytes(arch, cached)


def _fit(points: Sequence[Point]) -> dict[str, float]:
    """Prices that make the relative errors of `points` least; a feature that no point has gets none."""
    rows = [features(point.arch, point.vocab_size) for point in points]
    names = list(dict.fromkeys(name for row in rows for name in row))
    relative = np.array([[row.get(name, 0.0) / point.p50_ms for name in names] for row, point in zip(rows, points, strict=True)])
    return dict(zip(names, map(float, non_negative_least_squares(relative, np.ones(len(points)))), strict=True))


def _price(wanted: dict[str, float], prices: dict[str, float]) -> float:
    return sum(amount * prices.get(name, 0.0) for name, amount in wanted.items())


def non_negative_least_squares(matrix: Vector, target: Vector) -> Vector:
    """The x, none of it below zero, for which |matrix x - target| is least (Lawson and Hanson 1974)."""
    scale = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(scale > 0, scale, 1)
    x, free = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1], dtype=bool)
    for _ in range(10 * matrix.shape[1]):
        gain = np.where(free, -np.inf, scaled.T @ (target - scaled @ x))
        if gain.max() < 1e-10:
            break
        free[gain.argmax()] = True
        x = _descend(scaled, target, x, free)
    return x / np.where(scale > 0, scale, 1)


def _descend(matrix: Vector, target: Vector, x: Vector, free: NDArray[np.bool_]) -> Vector:
    """The best x over the `free` columns; a column that would go below zero is freed no longer."""
    while True:
        best = np.zeros_like(x)
        best[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
        falling = free & (best <= 0)
        if not falling.any():
            return best
        x = x + np.min(x[falling] / (x[falling] - best[falling])) * (best - x)
        free &= x > 1e-12
        x[~free] = 0
