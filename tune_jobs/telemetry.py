"""Metrics of a running search on Ray for Prometheus, Ray's dashboard and Grafana (`grafana.json`).

All values come from the history and the trainer; only the ETA is an estimate, the same as in the progress line.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ray.util import metrics

from codenas.search.candidate import Trial
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.plan import Plan
from codenas.search.rungs import with_decided_promotions
from codenas.stats.pareto import front


@dataclass(slots=True, frozen=True)
class Instrument:
    """A metric of Ray. Ray adds the node and the process to `tags`."""

    name: str
    description: str
    tags: tuple[str, ...] = ("run",)
    is_counter: bool = False

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"ray_{self.name}{'_total' if self.is_counter else ''}"

    def gauge(self) -> metrics.Gauge:
        """The gauge, to set in this process."""
        return metrics.Gauge(self.name, self.description, self.tags)

    def counter(self) -> metrics.Counter:
        """The counter, to increase in this process."""
        return metrics.Counter(self.name, self.description, self.tags)


BEST = Instrument("codenas_best_bits_per_byte", "Lowest bits per byte of any candidate at any rung")
TRIALS = Instrument(
    "codenas_trials", "Candidates that were trained to a rung, failed on the way to it, or were refused", ("run", "rung", "state")
)
FRONT_SIZE = Instrument("codenas_front_size", "Candidates at the highest rung that no other dominates")
STEPS = Instrument("codenas_training_steps", "Training steps of all trials; its rate is the speed of the search", is_counter=True)
STEPS_PLANNED = Instrument("codenas_planned_steps", "Training steps of the whole search; an upper bound with adaptive promotion")
STEPS_DONE = Instrument("codenas_done_steps", "Finished training steps, including earlier sessions")
LOST = Instrument("codenas_lost_processes", "Processes of trials that died", is_counter=True)
ETA = Instrument("codenas_left_seconds", "Estimated seconds until the search ends; an upper bound while the planned steps are one")
GPU_MEMORY = Instrument("codenas_gpu_peak_memory_bytes", "Peak GPU memory of the tensors of the current trial, in bytes")

INSTRUMENTS = (BEST, TRIALS, FRONT_SIZE, STEPS, STEPS_PLANNED, STEPS_DONE, LOST, ETA, GPU_MEMORY)


class SearchTelemetry:
    """Metrics of one search, set in the driver process. `checkpoints` is the folder of its candidates.

    Ray drops the value of a gauge after exporting it (every ten seconds), so all are set again with every report of a trial.
    """

    def __init__(self, plan: Plan, checkpoints: Path) -> None:
        self._plan, self._tags = plan, _tags(checkpoints)
        self._best, self._trials, self._front_size = BEST.gauge(), TRIALS.gauge(), FRONT_SIZE.gauge()
        self._steps, self._lost = STEPS.counter(), LOST.counter()
        self._planned, self._done, self._eta = STEPS_PLANNED.gauge(), STEPS_DONE.gauge(), ETA.gauge()

    def update(self, history: History, steps: int, done: int, eta_seconds: float | None) -> None:
        """Set all metrics after `steps` more steps; `done` is the total number of finished ones."""
        if steps:
            self._steps.inc(steps, self._tags)
        self._done.set(done, self._tags)
        self._planned.set(with_decided_promotions(self._plan.budget, history.trials, self._plan.objectives).total_steps, self._tags)
        self._eta.set(eta_seconds, self._tags)
        self._best.set(history.best_bits_per_byte, self._tags)
        self._front_size.set(front_size(history.trials, self._plan.objectives), self._tags)
        for (rung, state), count in trial_counts(history.trials, self._plan.budget.rungs[0]).items():
            self._trials.set(count, {**self._tags, "rung": str(rung), "state": state})

    def process_died(self) -> None:
        """The process of a trial died."""
        self._lost.inc(1, self._tags)


class GpuTelemetry:
    """Metrics of the process of a trial; none without a GPU."""

    def __init__(self, checkpoints: Path) -> None:
        self._tags = _tags(checkpoints)
        self._memory = GPU_MEMORY.gauge() if torch.cuda.is_available() else None
        if self._memory is not None:
            torch.cuda.reset_peak_memory_stats()

    def update(self) -> None:
        """Set the metrics after some training steps."""
        if self._memory is not None:
            self._memory.set(torch.cuda.max_memory_allocated(), self._tags)


def trial_counts(trials: Sequence[Trial], first_rung: int) -> Counter[tuple[int, str]]:
    """How many candidates were trained to a rung, failed before it, or were refused (counted at the first rung)."""
    counts = Counter((report.rung, "trained") for trial in trials for report in trial.reports)
    counts.update((trial.failure.rung, "failed") for trial in trials if trial.failure)
    counts.update((first_rung, "refused") for trial in trials if trial.refusal)
    return counts


def front_size(trials: Sequence[Trial], objectives: Sequence[Objective]) -> int:
    """Size of the Pareto front over all objectives, at the highest rung that any candidate has reached."""
    highest = max((trial.last.rung for trial in trials if trial.last), default=0)
    reports = [report for trial in trials if (report := trial.report(highest))]
    return len(front([[objective.cost(report.metrics) for objective in objectives] for report in reports]))


def _tags(checkpoints: Path) -> dict[str, str]:
    """The run in which a search stores its candidates, `<run>/search/checkpoints`."""
    return {"run": str(checkpoints.absolute().parent.parent)}
