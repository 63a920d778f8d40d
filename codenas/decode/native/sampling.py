"""Sampling in the native library: what `codenas.decode.sampling.sample` does, in a tenth of the time."""

import ctypes
import functools

from codenas.decode.backend import Logits
from codenas.decode.native.library import load_library
from codenas.decode.sampling import SamplingParams


def native_sample(logits: Logits, params: SamplingParams, drawn: float) -> int:
    """See `codenas.decode.sampling.sample`; `logits` [vocab] are contiguous.

    Raises:
        ConfigError: the library is not built.
        ValueError: the logits have no finite maximum.
    """
    address = logits.__array_interface__["data"][0]
    token = _library().cn_sample(len(logits), address, params.temperature, params.top_k or 0, params.top_p, params.min_p, drawn)
    if token < 0:
        raise ValueError("logits without a finite maximum cannot be sampled from")
    return int(token)


@functools.cache
def _library() -> ctypes.CDLL:
    """To find the best library again would take longer than the sampling."""
    return load_library()
