"""What a search tells while it works, the same words with and without Ray."""

from codenas.search.candidate import Failure, Outcome, Refusal
from codenas.search.history import History
from codenas.search.plan import Job


def told(job: Job, outcome: Outcome) -> str:
    """What became of `job`, as a line."""
    name = f"  {job.candidate.id} ({job.candidate.origin})"
    if isinstance(outcome, Failure):
        return f"{name} failed on the way to {outcome.rung} steps: {outcome.reason}"
    if isinstance(outcome, Refusal):
        return f"{name} refused: {outcome.reason}"
    metrics = outcome.metrics
    return (
        f"{name} at {outcome.rung} steps: {metrics.bits_per_byte:.3f} bits per byte, "
        f"{(metrics.size_bytes or 0) / 1e6:.2f} MB, {metrics.latency_ms_p50:.2f} ms a token, {outcome.seconds:.0f} s"
    )


def told_again(job: Job, dead: str) -> str:
    """That `job` starts again because something of it is `dead`, as a line."""
    return f"  {job.candidate.id} on the way to {job.rung} steps: its {dead} died; tried again from its last stored rung"


def best(history: History) -> str:
    """The best score so far; empty before the first."""
    score = history.best_bits_per_byte
    return f"best {score:.3f} bits per byte" if score is not None else ""
