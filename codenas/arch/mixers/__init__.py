"""Mixers: the part of a layer in which tokens interact. One file per family, with its specification, its label and its costs.

A new family is a new file here, with a subclass of `MixerBase`, and the file of the same name in `codenas.model.mixers`. Nothing
else lists the families: they are the subclasses that the modules of this folder define.
"""

import functools
import importlib
import operator
import pkgutil
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from codenas.arch.mixers.base import MixerBase

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

MIXER_SPECS: tuple[type[MixerBase], ...] = tuple(sorted(MixerBase.__subclasses__(), key=lambda spec: spec.family()))

if TYPE_CHECKING:
    MixerSpec = MixerBase  # whoever needs more than every mixer has asks for the class of one
else:
    MixerSpec = Annotated[functools.reduce(operator.or_, MIXER_SPECS), Field(discriminator="kind")]

__all__ = ["MIXER_SPECS", "MixerBase", "MixerSpec"]
