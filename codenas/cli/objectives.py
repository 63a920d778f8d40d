"""What a search is to find, as options say it: limits, targets, weights."""

import math
from collections.abc import Mapping

from pydantic import ValidationError

from codenas.errors import ConfigError, first_error
from codenas.experiment.jobs import SearchJob
from codenas.metrics import LATENCY, SIZE, require_metric

_EXAMPLES = {"--weights": "bits_per_byte=0.5,size_bytes=0.3,latency_ms_p50=0.2", "--targets": "latency_ms_p50=5"}


def with_objectives(
    job: SearchJob, max_mb: float | None, max_ms: float | None, weights: str | None = None, targets: str | None = None
) -> SearchJob:
    """`job` with what the command line asks for: limits, and lists of METRIC=NUMBER.

    Raises:
        ConfigError: a number is outside its bounds, a list cannot be read, or nothing is left to decide.
    """
    for name, value in (("--max-mb", max_mb), ("--max-ms", max_ms)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} {value:g} must be a number above 0")
    limits = {SIZE: max_mb * 1e6 if max_mb else None, LATENCY: max_ms}
    try:
        return job.with_objectives(
            limits={metric: limit for metric, limit in limits.items() if limit is not None},
            targets=_numbers("--targets", targets) if targets is not None else None,
            weights=_numbers("--weights", weights) if weights is not None else None,
        )
    except ValidationError as error:
        raise ConfigError(first_error(error)) from error


def _numbers(option: str, given: str) -> Mapping[str, float]:
    """The numbers of a list `METRIC=NUMBER,...`."""
    numbers: dict[str, float] = {}
    for part in given.split(","):
        metric, equals, number = (word.strip() for word in part.partition("="))
        try:
            require_metric(metric)
        except ValueError as error:
            raise ConfigError(f"{option} {part!r}: {error}") from None
        if metric in numbers:
            raise ConfigError(f"{option} names {metric} twice; give it one number")
        if not equals:
            raise ConfigError(f"{option} {part!r} has no number; write METRIC=NUMBER, such as {option} {_EXAMPLES[option]}")
        numbers[metric] = _number(option, metric, number)
    return numbers


def _number(option: str, metric: str, given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        raise ConfigError(f"{option} {metric}={given}: {given!r} is no number; write such as {option} {_EXAMPLES[option]}") from None
    if not 0 <= number < math.inf:
        raise ConfigError(f"{option} {metric}={given} must be 0 or more, and finite")
    return number
