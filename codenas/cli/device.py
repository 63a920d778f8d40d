"""`codenas device`: decoding latency on this device, measured, and on calibrated ones, predicted."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.space import MAX_VOCAB_SIZE
from codenas.processes import MAX_THREADS

if TYPE_CHECKING:
    from codenas.arch import Design

_DRAWS = 50  # for every architecture that is wanted
DEFAULT_CALIBRATION = Path("device.json")


def calibrate(
    output: Annotated[Path, typer.Option(help="Where the calibration is stored, as JSON.")] = DEFAULT_CALIBRATION,
    space: Annotated[str, typer.Option(help="Search space to sample from: a preset, a job file, or a space as JSON.")] = "small",
    count: Annotated[int, typer.Option(min=8, max=10_000, help="How many architectures are measured.")] = 40,
    sweeps: Annotated[int, typer.Option(min=2, max=1_000, help="Measurements of each; the lowest is used.")] = 4,
    threads: Annotated[int, typer.Option(min=1, max=MAX_THREADS, help="Threads of decoding.")] = 1,
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda.")] = "cpu",
    vocab_size: Annotated[int, typer.Option(min=2, max=MAX_VOCAB_SIZE, help="Ids of the vocabulary.")] = 4_096,
    name: Annotated[str | None, typer.Option(help="Name of the device. By default its own name.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Measure the decoding latency of some dozen random architectures and fit a latency model.

    Stop other work on the machine: it would distort the measurements. The calibration reports its leave-one-out error;
    `codenas device predict` uses it, on any machine. An interrupted calibration is resumed.
    """
    import torch

    from codenas.experiment.device import resolve_device
    from codenas.files import replaceable_path, require_writable_file
    from codenas.log import LOGGER, Progress
    from codenas.measure.calibration import Times, measure_points
    from codenas.measure.latency_model import Calibration
    from codenas.measure.served import device_name, served_context
    from codenas.report.device import calibration_figures, calibration_warnings
    from codenas.report.tables import summary_lines

    require_writable_file(output)  # before anything is measured
    designs = _draw(space, count, vocab_size, seed)
    device = resolve_device(device)
    called = name or device_name(device)
    torch.set_num_threads(threads)
    settings = [called, device, threads, vocab_size, sweeps, str(served_context(device)), *(design.digest for design in designs)]
    times = Times(_place_of_times(output, settings) if replaceable_path(output) else None)  # no file belongs beside a device
    progress = Progress("calibrate", count * sweeps, "measurements", initial=len(times.p50_ms))
    points = measure_points(designs, vocab_size, sweeps, device, times, lambda: progress.update(progress.done + 1))
    progress.finish()
    calibration = Calibration.fit(called, threads, points, served_context(device))
    calibration.save(output)
    times.remove()
    for line in summary_lines([*calibration_figures(calibration), ("stored", str(output))]):
        typer.echo(line)
    for warning in calibration_warnings(calibration):
        LOGGER.warning(f"warning: {warning}")


def predict(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="An architecture, as `codenas arch show` takes it.")],
    on: Annotated[list[Path] | None, typer.Option(help="A calibration, by default device.json; several compare devices.")] = None,
    vocab_size: Annotated[
        int | None, typer.Option(min=2, max=MAX_VOCAB_SIZE, help="Ids of the vocabulary. By default the model's own, else 4,096.")
    ] = None,
) -> None:
    """Predict the latency of an architecture on calibrated devices, as pruned where its design says so; nothing is built."""
    from codenas.cli.arch import load_design
    from codenas.measure.latency_model import Calibration
    from codenas.report.device import device_label, prediction_line
    from codenas.report.tables import summary_lines

    design, own_vocab_size = load_design(spec)
    calibrations = [Calibration.load(path) for path in on or [DEFAULT_CALIBRATION]]
    size = vocab_size or own_vocab_size or 4_096
    lines = [(device_label(each), prediction_line(each.predicted_latency(design, size))) for each in calibrations]
    for line in summary_lines(lines):
        typer.echo(line)


def _place_of_times(output: Path, settings: list[object]) -> Path:
    """Where the times lie until the calibration is stored. Named by what decides them: others would not be of the same draw."""
    return output.with_name(f".{output.name}.{hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}")


def _draw(name: str, count: int, vocab_size: int, seed: int) -> "list[Design]":
    """Designs with different stored architectures of the space `name`: of two equal ones, leaving one out would leave nothing out.

    Raises:
        ConfigError: there is no such space, it holds fewer, or one of them cannot be timed.
    """
    from codenas.cli.space import load_space
    from codenas.errors import ConfigError
    from codenas.measure.latency_model import features
    from codenas.seeds import stream

    space, rng = load_space(name), stream(seed, "calibration")
    if count > space.cardinality:
        raise ConfigError(f"the space holds {space.cardinality:,} architectures only; --count {count} is too many")
    found: dict[str, Design] = {}
    for _ in range(_DRAWS * count):
        design = space.sample(rng)
        found.setdefault(design.stored_arch.digest, design)  # what decodes
        if len(found) == count:
            break
    else:
        raise ConfigError(f"the space holds {len(found)} architectures only; --count {count} is too many")
    for design in found.values():
        features(design.stored_arch, vocab_size)
    return list(found.values())
