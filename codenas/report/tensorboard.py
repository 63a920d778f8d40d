"""The history of a search as TensorBoard event files: one run per candidate, with its losses, metrics and choices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codenas.errors import ConfigError
from codenas.metrics import TrainingCurve
from codenas.search.candidate import Trial

NEEDS = ("tensorboardX",)
_TEXT = (str, int, float, bool)


def write_events(trials: Sequence[Trial], choices: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `trials`, made by `choices`, as event files below `folder`.

    Raises:
        ConfigError: `folder` is not empty.
    """
    from tensorboardX import SummaryWriter

    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; remove it, or choose another folder")
    for trial, chosen in zip(trials, choices, strict=True):
        with SummaryWriter(str(folder / trial.candidate.id), write_to_disk=True) as writer:
            _write(writer, trial, chosen)


def _write(writer: Any, trial: Trial, choices: Mapping[str, Any]) -> None:
    for curve in _curves(trial):
        for step, loss in curve.losses:
            writer.add_scalar("training/nats_per_token", loss, step, walltime=curve.started)
    for report in trial.reports:
        for name, value in report.metrics.values().items():
            writer.add_scalar(f"rung/{name}", value, report.rung)
    stopped = trial.refusal or trial.failure
    if stopped is not None:
        writer.add_text("stopped", stopped.reason)
    hparams = {name: value if isinstance(value, _TEXT) else str(value) for name, value in choices.items()}
    last = {} if trial.last is None else trial.last.metrics.values()
    writer.add_hparams(hparams, {f"last/{name}": value for name, value in last.items()}, name="design")


def _curves(trial: Trial) -> list[TrainingCurve]:
    curves = [*(report.curve for report in trial.reports), trial.failure.curve if trial.failure else None]
    return [curve for curve in curves if curve is not None]
