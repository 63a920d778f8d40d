"""Bits per byte of what is stored, on held-out repositories."""

import math

from codenas.errors import TrialFailure
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.measure.measurements.base import Measurement, MeasurementSubject
from codenas.metrics import QUALITY, Metrics


def measure(subject: MeasurementSubject) -> Metrics:
    """Score the held-out tokens.

    Raises:
        TrialFailure: the score is not finite.
    """
    sizes = subject.vocabulary.bytes_per_token
    scored = bits_per_byte(subject.model, subject.held_out, sizes, subject.score_tokens, subject.precision)
    if not math.isfinite(scored.bits_per_byte):
        raise TrialFailure("the stored model scores no finite bits per byte")
    return Metrics(bits_per_byte=scored.bits_per_byte)


MEASUREMENT = Measurement((QUALITY,), measure, "the stored model was scored")
