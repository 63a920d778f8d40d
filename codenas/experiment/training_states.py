"""Training states of a search on the disk. Each is several times as large as the model; they are removed when no training needs them."""

import contextlib
from pathlib import Path

from codenas.checkpoint import TRAINING
from codenas.experiment.mirror import Mirror
from codenas.search.candidate import Report
from codenas.search.history import History
from codenas.search.plan import Plan
from codenas.search.resumable import resumable_rungs


class TrainingStates:
    """The states of a search in its folder and in its mirror.

    Args:
        stopped_by_ray: Ray's scheduler decides who is trained on, not the plan: the last state of every candidate is kept.
    """

    def __init__(self, plan: Plan, checkpoints: Path, mirror: Mirror | None = None, stopped_by_ray: bool = False) -> None:
        self._plan, self._checkpoints, self._mirror, self._stopped_by_ray = plan, checkpoints, mirror, stopped_by_ray
        self._removed: set[str] = set()

    def remove_unneeded(self, history: History) -> None:
        """Remove the states of reported trainings that will not be resumed.

        Raises:
            ResourceError: the mirror cannot be reached.
        """
        for report in self._unneeded(history):
            if report.checkpoint in self._removed:
                continue
            with contextlib.suppress(OSError):  # it is tried again at the end of the search
                (self._checkpoints / report.checkpoint / TRAINING).unlink(missing_ok=True)
            if self._mirror is not None:
                self._mirror.remove_training_state(report.checkpoint)
            self._removed.add(report.checkpoint)

    def _unneeded(self, history: History) -> list[Report]:
        trials = history.trials
        if self._stopped_by_ray:
            needed = {(trial.candidate.index, trial.last.rung) for trial in trials if trial.last is not None}
        else:
            needed = resumable_rungs(trials, self._plan.budget, self._plan.objectives)
        reports = [report for trial in trials for report in trial.all_reports]
        return [report for report in reports if report.repeat or (report.index, report.rung) not in needed]
