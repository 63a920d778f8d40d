"""How fast a search trains, seen from outside."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Throughput: training steps of a session and the seconds that all its workers together took; the last report is `idle_seconds` old."""

    steps: int
    seconds: float
    idle_seconds: float

    def eta_seconds(self, steps: int) -> float | None:
        """Seconds until `steps` more are reported, at the pace so far; None before anything is known."""
        if self.steps <= 0 or self.seconds <= 0:
            return None
        return max(0.0, self.seconds / self.steps * steps - self.idle_seconds)
