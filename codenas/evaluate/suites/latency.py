"""Latency per token and stored size of the model, as it is served."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from codenas.evaluate.evaluation import Row
from codenas.evaluate.suites.base import EvaluationSubject, Suite, SuiteResult
from codenas.measure.latency import decoding_latency
from codenas.measure.served import served_context
from codenas.metrics import LATENCY, METRICS, Metrics, context_name
from codenas.model import count_parameters


class LatencyResult(SuiteResult):
    """Parameters, bytes, and latencies with what they were measured on."""

    metrics: Metrics

    def rows(self) -> tuple[Row, ...]:
        """The median, and what it was measured on."""
        if self.metrics.latency_ms_p50 is None:
            return ()
        info = METRICS[LATENCY]
        place = f"on {context_name(self.metrics.latency_context)}"
        return (Row(name=info.heading, value=info.number(self.metrics.latency_ms_p50), reference=place),)

    def measured(self) -> Metrics:
        """`metrics`."""
        return self.metrics


def run(subject: EvaluationSubject) -> LatencyResult:
    """Time the decoding on the device of `subject`, with the threads of its settings."""
    with _threads(subject.settings.latency_threads):
        latency = decoding_latency(subject.checkpoint.load_stored(), subject.device, subject.settings.latency_tokens)
    stored = Metrics(params=count_parameters(subject.model), size_bytes=subject.checkpoint.size_bytes)
    return LatencyResult(metrics=stored.merged(latency.metrics))


def place(subject: EvaluationSubject) -> str:
    """Device, threads and precision of the measurement: a cached latency is valid only for the same."""
    with _threads(subject.settings.latency_threads):
        return str(served_context(subject.device))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SUITE = Suite("latency", LatencyResult, ("latency_tokens", "latency_threads"), run, place)
