"""Mixers, one file each, found by the kind of their specification."""

import importlib

from codenas.arch.mixers import MixerSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers.base import Mixer, MixerState

__all__ = ["Mixer", "MixerState", "build_mixer"]


def build_mixer(spec: MixerSpec, arch: ArchSpec) -> Mixer:
    """The mixer that `spec` describes: the class `MIXER` of the module of its kind."""
    module = importlib.import_module(f"codenas.model.mixers.{spec.kind}")
    mixer: Mixer = module.MIXER(spec, arch)
    return mixer
