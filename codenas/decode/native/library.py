"""Finding and loading the native library: one file per instruction set, the best one that is built and that the processor can run."""

import ctypes
import functools
from pathlib import Path

import codenas.decode.native
from codenas.errors import ConfigError

ABI_VERSION = 1  # of codenas_native.h
TARGETS = ("avx512", "avxvnni", "avx2", "portable")  # fastest first


def available_targets() -> tuple[str, ...]:
    """The targets that are built and that this processor can run, fastest first; empty where the library is not built."""
    if not _path("portable").is_file():
        return ()
    portable = _load("portable")
    return tuple(name for name in TARGETS if _path(name).is_file() and portable.cn_supported(name.encode()))


def load_library(target: str | None = None) -> ctypes.CDLL:
    """The library for `target`, or for the fastest target.

    Raises:
        ConfigError: it is not built, or this processor cannot run it.
    """
    available = available_targets()
    if not available:
        raise ConfigError("the native decoding library is not built; in a checkout run: make native")
    if target is not None and target not in available:
        raise ConfigError(f"the native decoding library for {target!r} cannot run here; choose one of {', '.join(available)}")
    return _load(target or available[0])


def _path(target: str) -> Path:
    return Path(codenas.decode.native.__path__[0]) / f"libcodenas-{target}.so"


@functools.cache
def _load(target: str) -> ctypes.CDLL:
    """The library with its functions declared; the portable one is asked for the others, since no other surely runs here."""
    path = _path(target)
    library = ctypes.CDLL(str(path))
    version = library.cn_abi_version()
    if version != ABI_VERSION:
        raise ConfigError(f"{path} has version {version} of the interface, this code needs {ABI_VERSION}; build it again: make native")
    return library
