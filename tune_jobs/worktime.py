"""Where the time of the workers goes that they do not spend in training steps, from what the trials report."""

from dataclasses import dataclass, field
from typing import Any

PREPARING, STORING = "preparing", "storing"  # keys of a result: seconds before the first step of a job, and after its last one


@dataclass(slots=True)
class WorkTime:
    """Worker seconds of one session; times of day are those of `time.monotonic`, in the process that drives the search.

    Attributes:
        preparing: build, size and latency of the new, states loaded of the promoted.
        storing: checkpoints written, read back and scored.
    """

    preparing: float = 0.0
    storing: float = 0.0
    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def note(self, result: dict[str, Any], now: float) -> None:
        """A trial has reported `result`, as Tune completes it."""
        self.preparing += result.get(PREPARING, 0.0)
        self.storing += result.get(STORING, 0.0)
        worker = f"{result.get('node_ip')}:{result.get('pid')}"
        self._first.setdefault(worker, now - result.get("time_this_iter_s", 0.0))
        self._last[worker] = now

    def elsewhere(self, workers: int, began: float, ended: float, step_seconds: float) -> dict[str, float]:
        """Worker seconds by what they went for, training steps left out; the sum of all is `workers` times the wall time.

        A worker starts until its first job; at the end it waits for the others; in between it waits for its next job, or for one
        that took its place when its process died.
        """
        wall = ended - began
        firsts, lasts = sorted(self._first.values())[:workers], sorted(self._last.values())[-workers:]
        absent = (workers - len(firsts)) * wall  # nothing was there to do for them
        starting = sum(first - began for first in firsts) + absent
        ending = sum(ended - last for last in lasts)
        between = workers * wall - starting - ending - self.preparing - self.storing - step_seconds
        found = {"starting": starting, PREPARING: self.preparing, STORING: self.storing, "between jobs": between, "at the end": ending}
        return {name: max(0.0, seconds) for name, seconds in found.items()}
