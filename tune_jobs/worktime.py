"""Worker time outside of training steps, from the results that trials report."""

from dataclasses import dataclass, field
from typing import Any

PREPARING, STORING = "preparing", "storing"  # keys of a result: seconds before the first step of a job, and after its last one


@dataclass(slots=True)
class WorkTime:
    """Worker seconds of one session. Times are `time.monotonic` of the driver.

    Attributes:
        preparing: seconds to build and measure new candidates, and to load the states of promoted ones.
        storing: seconds to write checkpoints, load them and score them.
    """

    preparing: float = 0.0
    storing: float = 0.0
    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def add(self, result: dict[str, Any], now: float) -> None:
        """Add `result` of a trial, reported at time `now`."""
        self.preparing += result.get(PREPARING, 0.0)
        self.storing += result.get(STORING, 0.0)
        worker = f"{result.get('node_ip')}:{result.get('pid')}"
        self._first.setdefault(worker, now - result.get("time_this_iter_s", 0.0))
        self._last[worker] = now

    def overhead(self, workers: int, began: float, ended: float, step_seconds: float) -> dict[str, float]:
        """Worker seconds outside of training steps, by purpose; with the steps their sum is `workers` times the wall time.

        `starting` is the time before the first job of a worker, `at the end` the time after its last one. `between jobs` includes
        restarts of workers whose process died.
        """
        wall = ended - began
        firsts, lasts = sorted(self._first.values())[:workers], sorted(self._last.values())[-workers:]
        absent = (workers - len(firsts)) * wall  # workers that never got a job
        starting = sum(first - began for first in firsts) + absent
        ending = sum(ended - last for last in lasts)
        between = workers * wall - starting - ending - self.preparing - self.storing - step_seconds
        found = {"starting": starting, PREPARING: self.preparing, STORING: self.storing, "between jobs": between, "at the end": ending}
        return {name: max(0.0, seconds) for name, seconds in found.items()}
