"""All suites, sorted by name: every module of this package that defines `SUITE`. A new suite is one file here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from codenas.evaluate import suites as package
from codenas.evaluate.suites.base import Suite


def _found() -> tuple[Suite[Any], ...]:
    modules = (import_module(f"{package.__name__}.{each.name}") for each in iter_modules(package.__path__))
    return tuple(module.SUITE for module in modules if hasattr(module, "SUITE"))


SUITES = _found()
