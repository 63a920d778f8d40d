"""Latency of an architecture that was never built, from a fit of some dozen measured ones: one calibration per device.

The time of a token is modelled as linear: a constant, a term for each layer of a kind and each option that adds work, a term
for each megabyte that is read, and further terms for those that exceed a cache. Where the weights are read as they are stored, a
megabyte of each storage has a coefficient of its own, and so has one of the state; where they are read as float32, all share one.
The coefficients minimise the squared relative errors and are not negative. A calibration carries its own validation: every measured
architecture is predicted from all the others (leave-one-out cross-validation).
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from codenas.arch import cost
from codenas.arch.design import Design
from codenas.arch.spec import GATED, ArchSpec
from codenas.arch.storage import BITS, Storage
from codenas.errors import ConfigError
from codenas.files import without_bom, write_atomic
from codenas.measure.timed_tokens import WARMUP_TOKENS, lengths_that_fit
from codenas.metrics import LatencyContext

FLOAT32_BYTES = 4
TOKENS, PROMPT_TOKENS = 32, 64  # of every measurement
CACHES_MB = (2, 8, 32)  # typical sizes of processor caches, beyond which a megabyte may take longer
MIN_POINTS = 8
RESAMPLES = 2_000
_LAYERS, _STORED = "layers of ", "megabytes of "
_MIN_RATIO = 0.01

Vector = NDArray[np.float64]


_FORMER_NAMES = {"turned queries": "rotary embeddings", "sloped scores": "ALiBi biases"}  # of features, in earlier versions


def _renamed(coefficients: dict[str, float]) -> dict[str, float]:
    return {_FORMER_NAMES.get(name, name): value for name, value in coefficients.items()}


class Stored(BaseModel):
    """Base of what is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(Stored):
    """One measured architecture; milliseconds per token as `decoding_latency` gives them.

    Attributes:
        storage: of the weights that a token reads; None where it reads float32, whatever the file stores.
    """

    arch: ArchSpec
    storage: Storage | None = None
    vocab_size: int
    p50_ms: float
    p50_uncertainty_ms: float


class Prediction(Stored):
    """A predicted latency with its 90 % interval, from `low_ms` to `high_ms`."""

    p50_ms: float
    low_ms: float
    high_ms: float


class Calibration(Stored):
    """The fitted latency model of a device.

    Attributes:
        device: its name, or the name that the user gave it.
        measured_on: the context of the measurements; None if an earlier version made them.
        coefficients: milliseconds per unit of every feature that was measured.
        leave_one_out_ratios: predicted over measured latency of every point, by a fit to all other points.
    """

    schema_version: Literal[1] = 1
    device: str
    threads: int
    points: tuple[Point, ...]
    coefficients: Annotated[dict[str, float], AfterValidator(_renamed)] = Field(validation_alias=AliasChoices("coefficients", "prices"))
    leave_one_out_ratios: tuple[float, ...] = Field(validation_alias=AliasChoices("leave_one_out_ratios", "left_out"))
    measured_on: LatencyContext | None = None

    @classmethod
    def fit(cls, device: str, threads: int, points: Sequence[Point], measured_on: LatencyContext | None = None) -> Self:
        """The calibration that is fitted to `points`.

        Raises:
            ConfigError: there are too few of them.
        """
        if len(points) < MIN_POINTS:
            raise ConfigError(f"{len(points)} architectures are too few to fit a device; measure at least {MIN_POINTS}")
        ratios = []
        for number, point in enumerate(points):
            others = _fit([*points[:number], *points[number + 1 :]])
            ratios.append(_predict(features(point.arch, point.vocab_size, point.storage), others) / point.p50_ms)
        return cls(
            device=device,
            threads=threads,
            points=tuple(points),
            coefficients=_fit(points),
            leave_one_out_ratios=tuple(ratios),
            measured_on=measured_on,
        )

    @property
    def context(self) -> LatencyContext:
        """The context of its latencies; in a file of an earlier version the device has the name that the user gave it."""
        return self.measured_on or LatencyContext(device=self.device, threads=self.threads)

    def missing_kinds(self, kinds: Iterable[str]) -> list[str]:
        """The `kinds` of mixers that no measured architecture has: their latency cannot be predicted."""
        return sorted(kind for kind in kinds if _LAYERS + kind not in self.coefficients)

    def missing_storages(self, storages: Iterable[Storage]) -> list[str]:
        """The `storages` that no measured architecture has, where a token reads the weights as they are stored."""
        return sorted(storage for storage in storages if self.by_storage and _STORED + storage not in self.coefficients)

    @property
    def by_storage(self) -> bool:
        """Whether a token reads the weights as they are stored."""
        return self.points[0].storage is not None

    def predicted_latency(self, design: Design, vocab_size: int) -> Prediction:
        """The predicted latency of decoding the stored weights of `design` on this device.

        Raises:
            ConfigError: it has a mixer or a storage that no measured architecture has.
        """
        wanted = features(design.stored_arch, vocab_size, design.storage if self.by_storage else None)
        unknown = [name for name in wanted if name not in self.coefficients and name.startswith((_LAYERS, _STORED))]
        if unknown:
            raise ConfigError(f"the calibration of {self.device!r} has measured no {unknown[0]}; calibrate over a space that has some")
        p50_ms = _predict(wanted, self.coefficients)
        # The only one of its kind may be predicted at zero when it is left out: its kind has no coefficient then.
        high, low = np.quantile(np.maximum(self.leave_one_out_ratios, _MIN_RATIO), (0.95, 0.05))
        return Prediction(p50_ms=p50_ms, low_ms=p50_ms / max(1.0, float(high)), high_ms=p50_ms / min(1.0, float(low)))

    def median_error(self) -> tuple[float, float, float]:
        """The median relative error of leave-one-out predictions, and its 95 % bootstrap interval."""
        errors = [abs(ratio - 1) for ratio in self.leave_one_out_ratios]
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


def features(arch: ArchSpec, vocab_size: int, storage: Storage | None = None) -> dict[str, float]:
    """The non-zero features of decoding one token of `arch`, half-way through the tokens that a measurement times.

    Args:
        storage: of the weights that it reads; None for float32.

    Raises:
        ConfigError: its context is too short to be timed.
    """
    try:
        prompt, tokens = lengths_that_fit(arch.context_len, TOKENS, PROMPT_TOKENS)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    layers = arch.layers()
    read = _megabytes_read(arch, vocab_size, prompt + WARMUP_TOKENS + tokens // 2, storage)
    megabytes = sum(read.values())
    found: dict[str, float] = {
        "tokens": 1,
        **read,
        **{f"megabytes beyond {cache}": max(0.0, megabytes - cache) for cache in CACHES_MB},
        "gated feed-forwards": arch.n_layers * (arch.feedforward.activation in GATED),
        "groupnorms": arch.n_layers * (arch.norm == "groupnorm"),
        "rmsnorms": arch.n_layers * (arch.norm == "rmsnorm"),
    }
    for mixer in layers:
        for name in (_LAYERS + mixer.kind, *mixer.timed_operations(arch.position)):
            found[name] = found.get(name, 0) + 1
    return {name: value for name, value in found.items() if value}


def _megabytes_read(arch: ArchSpec, vocab_size: int, cached: int, storage: Storage | None) -> dict[str, float]:
    """Megabytes of matrices, head and state for one token after `cached` others; each weight is read once, for one multiply-add."""
    weights = sum(part.weight_flops for part in cost.parts(arch, vocab_size)) // 2
    state = cost.state_bytes(arch, cached)
    if storage is None:
        return {"megabytes": (FLOAT32_BYTES * weights + state) / 1e6}
    return {_STORED + storage: weights * BITS[storage] / 8e6, f"{_STORED}state": state / 1e6}


def _fit(points: Sequence[Point]) -> dict[str, float]:
    """The coefficients that minimise the relative errors of `points`; features that no point has are missing."""
    rows = [features(point.arch, point.vocab_size, point.storage) for point in points]
    names = list(dict.fromkeys(name for row in rows for name in row))
    relative = np.array([[row.get(name, 0.0) / point.p50_ms for name in names] for row, point in zip(rows, points, strict=True)])
    return dict(zip(names, map(float, _non_negative_least_squares(relative)), strict=True))


def _predict(wanted: dict[str, float], coefficients: dict[str, float]) -> float:
    return sum(amount * coefficients.get(name, 0.0) for name, amount in wanted.items())


def _non_negative_least_squares(matrix: Vector) -> Vector:
    """The x >= 0 that minimises |matrix x - 1| (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls  # takes a while to import, and few commands calibrate

    scale = np.linalg.norm(matrix, axis=0)  # above zero: every feature has a point. The tolerance of `nnls` wants columns of one length.
    x: Vector = nnls(matrix / scale, np.ones(len(matrix)), maxiter=10 * matrix.shape[1])[0] / scale
    return x
