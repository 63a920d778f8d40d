"""All measurements, sorted by name: every module of this package that defines `MEASUREMENT`. A new one is one file here."""

from importlib import import_module
from pkgutil import iter_modules

from codenas.measure import measurements as package
from codenas.measure.measurements.base import Measurement
from codenas.metrics import Known


def _found() -> tuple[Measurement, ...]:
    modules = (import_module(f"{package.__name__}.{each.name}") for each in iter_modules(package.__path__))
    return tuple(module.MEASUREMENT for module in modules if hasattr(module, "MEASUREMENT"))


MEASUREMENTS = _found()


def measurements(known: Known) -> tuple[Measurement, ...]:
    """Those whose metrics are known at this time."""
    return tuple(each for each in MEASUREMENTS if each.known == known)
