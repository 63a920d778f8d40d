"""Latency per token of the stored model, with what it was measured on."""

from codenas.measure.latency import decoding_latency
from codenas.measure.measurements.base import Measurement, MeasurementSubject
from codenas.metrics import LATENCIES, Metrics


def measure(subject: MeasurementSubject) -> Metrics:
    """Time the decoding."""
    return decoding_latency(subject.checkpoint.load_stored(), subject.device, subject.latency_tokens).metrics


MEASUREMENT = Measurement(LATENCIES, measure, "its latency was measured")
