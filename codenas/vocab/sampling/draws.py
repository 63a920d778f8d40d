"""Sampling of vocabularies as in ZeTT (Minixhofer et al. 2024, algorithm 1): Unigram without EM and pruning, from a window of texts.

A draw is a function of the seed, the language and its number, independent of the worker and of other draws.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from codenas.errors import CodeNASError
from codenas.seeds import derive
from codenas.vocab.sampling.pieces import BLANKS, BYTES, FORCED, Ids, Pieces, Table, grown

TABLES = 16  # in a window, each of the texts of one batch
SPAN = 2048  # characters of a text, at most
IMPOSSIBLE = -100_000.0  # the log-score of a piece whose noisy share is not positive
SMALLEST = len(FORCED) + 1

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint64]


class SamplingSettings(BaseModel):
    """The settings of the sampling. Defaults are those of ZeTT's configuration for code."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    draws: int = Field(1000, ge=1, le=10_000_000)
    min_size: int = Field(1024, le=1 << 20, description="pieces, the forced ones included")
    max_size: int = Field(32_768, le=1 << 20)
    mean_size: float | None = Field(None, description="the largest size by default")
    size_std: float = Field(0, ge=0, le=1 << 20)
    noise_mean: float = Field(1e-5, ge=0, le=1, description="the median of the deviation of the noise on shares; 0: no noise")
    noise_std: float = Field(4, ge=0, le=20, description="of the logarithm of that deviation")
    texts: int = Field(2048, ge=TABLES, multiple_of=TABLES, le=1 << 20, description="in a window; a draw replaces a sixteenth of them")
    seed: int = 0

    @field_validator("min_size", "max_size")
    @classmethod
    def _has_room(cls, size: int) -> int:
        if size < SMALLEST:
            raise ValueError(f"it must be {SMALLEST} or more, {len(BYTES)} bytes and {len(BLANKS)} runs of blanks are in every vocabulary")
        return size

    @field_validator("max_size")
    @classmethod
    def _is_no_less(cls, size: int, info: ValidationInfo) -> int:
        if size < info.data.get("min_size", 0):
            raise ValueError(f"it must be no less than the smallest size, {info.data['min_size']}; lower that too")
        return size

    @field_validator("mean_size")
    @classmethod
    def _is_between(cls, mean: float | None, info: ValidationInfo) -> float | None:
        low, high = info.data.get("min_size"), info.data.get("max_size")
        if mean is not None and low is not None and high is not None and not low <= mean <= high:
            raise ValueError(f"it must be between the smallest and the largest size, {low} and {high}")
        return mean

    @property
    def batch_texts(self) -> int:
        """Texts of one table."""
        return self.texts // TABLES


@dataclass(frozen=True, slots=True)
class DrawParameters:
    """The random numbers of one vocabulary: its size, the standard deviation of its noise, and the key of that noise."""

    size: int
    sigma: float
    key: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled vocabulary. In addition to `ids` it has the 256 bytes with the log-score `floor` and the runs of blanks with 0.

    Attributes:
        ids, shares: the pieces drawn, in no order, and their noisy shares of the score; shape [size - 391].
    """

    ids: Ids
    shares: Floats
    floor: float

    @property
    def log_scores(self) -> Floats:
        """The log-scores of the pieces in the Unigram tokenizer; shape [size - 391]."""
        return np.log(self.shares, out=np.full(len(self.shares), IMPOSSIBLE), where=self.shares > 0)


class TooFewPieces(CodeNASError):
    """The texts of a window have fewer pieces than the vocabulary should have.

    Args:
        found: pieces that could have been drawn.
    """

    def __init__(self, found: int, wanted: int) -> None:
        super().__init__(f"{found:,} pieces in the window, {wanted:,} wanted")
        self.found = found


def draw_parameters(settings: SamplingSettings, language: str, number: int) -> DrawParameters:
    """The random numbers of draw `number` of `language`."""
    rng = np.random.default_rng(derive(settings.seed, "draw", language, number))
    mean = settings.max_size if settings.mean_size is None else settings.mean_size
    # numpy takes -0.0 for a negative deviation
    size = min(max(int(rng.normal(mean, abs(settings.size_std))), settings.min_size), settings.max_size)
    sigma = rng.lognormal(math.log(settings.noise_mean), abs(settings.noise_std)) if settings.noise_mean else 0.0
    return DrawParameters(size, sigma, int(rng.integers(1 << 64, dtype=np.uint64)))


class TextStream:
    """An endless stream of batches of the texts of one language, reshuffled in every epoch.

    Each text is a span of at most 2048 characters from a random start, drawn again each time.
    """

    def __init__(self, texts: Sequence[str], language: str, settings: SamplingSettings) -> None:
        self._texts, self._language, self._settings = texts, language, settings
        self._round, self._order = -1, np.zeros(0, np.int64)

    def batch(self, number: int) -> list[str]:
        """The texts of batch `number`."""
        count = self._settings.batch_texts
        rng = np.random.default_rng(derive(self._settings.seed, "spans", self._language, number))
        places = range(number * count, (number + 1) * count)
        return [_span(self._at(place), share) for place, share in zip(places, rng.random(count), strict=True)]

    def _at(self, place: int) -> str:
        turn, index = divmod(place, len(self._texts))
        if turn != self._round:
            rng = np.random.default_rng(derive(self._settings.seed, "order", self._language, turn))
            self._round, self._order = turn, rng.permutation(len(self._texts))
        return self._texts[self._order[index]]


class Window:
    """The last 16 tables and their sum."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._tables: deque[Table] = deque()
        self._scores = np.zeros(0, np.int64)

    def push(self, texts: Sequence[str]) -> Table:
        """Add the table of `texts`; the oldest goes when there are more than 16."""
        table = self.pieces.table(texts)
        self._scores = grown(self._scores, len(self.pieces))
        np.add.at(self._scores, table.ids, table.scores)
        self._tables.append(table)
        if len(self._tables) > TABLES:
            oldest = self._tables.popleft()
            np.subtract.at(self._scores, oldest.ids, oldest.scores)
        return table

    def draw(self, parameters: DrawParameters) -> Drawn:
        """One vocabulary from the texts in the window.

        Raises:
            TooFewPieces: they have not enough.
        """
        scores = self._scores[: len(self.pieces)]
        live = np.flatnonzero(scores)
        total, least = scores.sum(), scores[live].min(initial=np.iinfo(np.int64).max)
        ids = live[self.pieces.drawable[live]]
        wanted = parameters.size - len(FORCED)
        if len(ids) < wanted:
            raise TooFewPieces(len(ids), wanted)
        bits = scramble(self.pieces.fingerprints[ids], parameters.key)
        shares = scores[ids] / total
        if parameters.sigma:
            shares += parameters.sigma * normals(bits)
        chosen = _highest(np.maximum(shares, 0.0), bits, wanted)
        return Drawn(ids[chosen], shares[chosen], math.log(least / total))


def scramble(fingerprints: Bits, key: int) -> Bits:
    """64 random bits for each fingerprint under a key (the finaliser of SplitMix64): the order of pieces does not matter."""
    bits = fingerprints + np.uint64(key)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def normals(bits: Bits) -> Floats:
    """A standard normal number from each 64 bits (Box and Muller 1958)."""
    first, second = (bits >> np.uint64(32)) + 0.5, bits & np.uint64(0xFFFFFFFF)
    return np.sqrt(-2.0 * np.log(first / 2**32)) * np.cos(second * (2 * math.pi / 2**32))


def _highest(values: Floats, bits: Bits, count: int) -> Ids:
    """The indices of the `count` highest values, in no order; of equal ones those with the lowest bits."""
    bound = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > bound), np.flatnonzero(values == bound)
    return np.concatenate([above, equal[np.argsort(bits[equal], kind="stable")[: count - len(above)]]])


def _span(text: str, share: float) -> str:
    start = int(share * (max(len(text) - SPAN, 0) + 1))
    return text[start : start + SPAN]
