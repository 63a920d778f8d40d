"""What a search on Ray tells Prometheus, and with it Ray's dashboard and Grafana (`grafana.json`), while it works.

Every figure is one that the history or the trainer has; nothing is estimated here but the time left, as in the progress line.
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
from codenas.search.rungs import narrowed
from codenas.stats.pareto import front


@dataclass(slots=True, frozen=True)
class Instrument:
    """A metric. Ray adds the node and the process to `tags`."""

    name: str
    description: str
    tags: tuple[str, ...] = ("run",)
    counts: bool = False

    @property
    def exported(self) -> str:
        """What Prometheus calls it."""
        return f"ray_{self.name}{'_total' if self.counts else ''}"

    def gauge(self) -> metrics.Gauge:
        """To set its value in this process."""
        return metrics.Gauge(self.name, self.description, self.tags)

    def counter(self) -> metrics.Counter:
        """To add to its value in this process."""
        return metrics.Counter(self.name, self.description, self.tags)


BEST = Instrument("codenas_best_bits_per_byte", "Lowest bits per byte of any candidate at any rung")
TRIALS = Instrument(
    "codenas_trials", "Candidates that were trained to a rung, failed on the way to it, or were refused", ("run", "rung", "state")
)
FRONT_SIZE = Instrument("codenas_front_size", "Candidates at the highest rung that no other dominates")
STEPS = Instrument("codenas_training_steps", "Training steps of all trials; its rate is the speed of the search", counts=True)
STEPS_PLANNED = Instrument("codenas_planned_steps", "Training steps of the whole search; at most, as long as adaptive promotion continues")
STEPS_DONE = Instrument("codenas_done_steps", "Training steps that are done, those of earlier sessions included")
LOST = Instrument("codenas_lost_processes", "Processes of trials that died", counts=True)
TIME_LEFT = Instrument("codenas_left_seconds", "Seconds until the search ends, at its rate so far; at most, as the planned steps")
GPU_MEMORY = Instrument("codenas_gpu_peak_memory_bytes", "Most memory that the tensors of the present trial had on the GPU of its process")

INSTRUMENTS = (BEST, TRIALS, FRONT_SIZE, STEPS, STEPS_PLANNED, STEPS_DONE, LOST, TIME_LEFT, GPU_MEMORY)


class SearchTelemetry:
    """The telemetry of one search, in the process that holds its history. `checkpoints` is where its candidates are stored.

    Ray forgets a gauge when it has exported it (every ten seconds): all are set again with every report of a trial.
    """

    def __init__(self, plan: Plan, checkpoints: Path) -> None:
        self._plan, self._tags = plan, _tags(checkpoints)
        self._best, self._trials, self._front_size = BEST.gauge(), TRIALS.gauge(), FRONT_SIZE.gauge()
        self._steps, self._lost = STEPS.counter(), LOST.counter()
        self._planned, self._done, self._time_left = STEPS_PLANNED.gauge(), STEPS_DONE.gauge(), TIME_LEFT.gauge()

    def update(self, history: History, steps: int, done: int, left_seconds: float | None) -> None:
        """`steps` more were trained, `done` are in all."""
        if steps:
            self._steps.inc(steps, self._tags)
        self._done.set(done, self._tags)
        self._planned.set(narrowed(self._plan.budget, history.trials, self._plan.objectives).total_steps, self._tags)
        self._time_left.set(left_seconds, self._tags)
        self._best.set(history.best_bits_per_byte, self._tags)
        self._front_size.set(front_size(history.trials, self._plan.objectives), self._tags)
        for (rung, state), count in trial_counts(history.trials, self._plan.budget.rungs[0]).items():
            self._trials.set(count, {**self._tags, "rung": str(rung), "state": state})

    def lost(self) -> None:
        """The process of a trial died."""
        self._lost.inc(1, self._tags)


class GpuTelemetry:
    """The telemetry of the process of a trial; without a GPU it tells nothing."""

    def __init__(self, checkpoints: Path) -> None:
        self._tags = _tags(checkpoints)
        self._memory = GPU_MEMORY.gauge() if torch.cuda.is_available() else None
        if self._memory is not None:
            torch.cuda.reset_peak_memory_stats()

    def trained(self) -> None:
        """Some steps were trained."""
        if self._memory is not None:
            self._memory.set(torch.cuda.max_memory_allocated(), self._tags)


def trial_counts(trials: Sequence[Trial], first_rung: int) -> Counter[tuple[int, str]]:
    """How many candidates were trained to a rung, failed on the way to it, or were refused, which is before the first."""
    counts = Counter((report.rung, "trained") for trial in trials for report in trial.reports)
    counts.update((trial.failure.rung, "failed") for trial in trials if trial.failure)
    counts.update((first_rung, "refused") for trial in trials if trial.refusal)
    return counts


def front_size(trials: Sequence[Trial], objectives: Sequence[Objective]) -> int:
    """How many are on the front at the highest rung that was reached, over all objectives."""
    highest = max((trial.last.rung for trial in trials if trial.last), default=0)
    reports = [report for trial in trials if (report := trial.report(highest))]
    return len(front([[objective.cost(report.metrics) for objective in objectives] for report in reports]))


def _tags(checkpoints: Path) -> dict[str, str]:
    """The run in which a search stores its candidates, `<run>/search/checkpoints`."""
    return {"run": str(checkpoints.absolute().parent.parent)}
