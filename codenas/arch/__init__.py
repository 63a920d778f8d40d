"""Architectures as data: specification, search space, presets and closed-form cost."""

from codenas.arch.design import Design
from codenas.arch.mixers import MixerSpec
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.presets import preset
from codenas.arch.space import SearchSpace
from codenas.arch.spec import ArchSpec, FeedForwardSpec

__all__ = ["ArchSpec", "AttentionSpec", "Design", "FeedForwardSpec", "MixerSpec", "SearchSpace", "preset"]
