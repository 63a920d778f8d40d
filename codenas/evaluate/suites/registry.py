"""All suites, in the order in which an evaluation runs them; `codenas.evaluate.run` joins their results."""

from typing import Any

from codenas.evaluate.suites import bits_per_byte, completions, latency
from codenas.evaluate.suites.base import Suite

SUITES: tuple[Suite[Any], ...] = (bits_per_byte.SUITE, completions.SUITE, latency.SUITE)
