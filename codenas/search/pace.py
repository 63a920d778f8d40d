"""The throughput of a search."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Training steps of a session and its wall time until the last report, which is `idle_seconds` old."""

    steps: int
    seconds: float
    idle_seconds: float

    def eta_seconds(self, steps: int) -> float | None:
        """Estimated seconds until `steps` more are reported; None before the first report."""
        if self.steps <= 0 or self.seconds <= 0:
            return None
        return max(0.0, self.seconds / self.steps * steps - self.idle_seconds)
