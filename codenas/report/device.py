"""The latency calibration of a device, and its predictions."""

from statistics import median

from codenas.measure.latency_model import Calibration, Prediction
from codenas.report.scale import brief

IDLE, TRUSTED = 0.05, 0.10  # relative: above, a warning


def calibration_figures(calibration: Calibration) -> list[tuple[str, str]]:
    """A calibration as names and values for `summary_lines`."""
    error, low, high = calibration.median_error()
    times = sorted(point.p50_ms for point in calibration.points)
    fitted = [f"{brief(1000 * value)} us per unit of {name}" for name, value in calibration.coefficients.items() if value > 0]
    return [
        ("device", device_label(calibration)),
        ("measured", f"{len(times)} architectures, {times[0]:.2f} to {times[-1]:.2f} ms per token"),
        ("repeatability", f"{100 * uncertainty(calibration):.1f} % (median over the architectures)"),
        ("leave-one-out error", f"{100 * error:.1f} % (median; 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"),
        ("fitted costs", "; ".join(fitted)),
    ]


def calibration_warnings(calibration: Calibration) -> list[str]:
    """Reasons not to trust its predictions; empty if there are none."""
    warnings, error = [], calibration.median_error()[0]
    if uncertainty(calibration) > IDLE:
        warnings.append(
            f"the machine was not idle: times repeat only to {100 * uncertainty(calibration):.0f} %; stop other work, or raise --sweeps"
        )
    if error > TRUSTED:
        warnings.append(
            f"predictions are {100 * error:.0f} % off (median), more than {100 * TRUSTED:.0f} %; measure more architectures with --count"
        )
    return warnings


def device_label(calibration: Calibration) -> str:
    """The device and its decoding threads."""
    return f"{calibration.device}, {calibration.threads} thread{'s' if calibration.threads > 1 else ''}"


def prediction_line(prediction: Prediction) -> str:
    """A prediction with its interval."""
    return f"{prediction.p50_ms:.2f} ms per token predicted (90 % interval {prediction.low_ms:.2f} to {prediction.high_ms:.2f})"


def uncertainty(calibration: Calibration) -> float:
    """Relative repeatability of the measured times, median over the points."""
    return median(point.p50_uncertainty_ms / point.p50_ms for point in calibration.points)
