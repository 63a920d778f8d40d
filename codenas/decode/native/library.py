"""Finding and loading the native library: one file per instruction set, the best one that is built and that the processor can run."""

import ctypes
import functools
from pathlib import Path

import codenas.decode.native
from codenas.errors import ConfigError

ABI_VERSION = 2  # of codenas_native.h
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
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    """The results and arguments of the functions of codenas_native.h; an `int32_t` result is the default."""
    size, number, real, pointer = ctypes.c_size_t, ctypes.c_int32, ctypes.c_double, ctypes.c_void_p
    for name, result, arguments in (
        ("error", ctypes.c_char_p, []),
        ("create", number, [pointer, pointer, size, pointer, pointer]),
        ("destroy", None, [pointer]),
        ("weight_bytes", size, [pointer]),
        ("forward", number, [pointer, size, pointer, pointer, pointer, size, pointer, pointer]),
        ("length", number, [pointer, number]),
        ("reset", number, [pointer, number]),
        ("copy", number, [pointer, number, number]),
        ("truncatable", number, [pointer]),
        ("truncate", number, [pointer, number, number]),
        ("mark", number, [pointer, number]),
        ("rewind", number, [pointer, number]),
        ("saved_bytes", number, [pointer, number, number, number, pointer]),
        ("save", number, [pointer, number, number, number, pointer]),
        ("restore", number, [pointer, number, number, number, pointer, size]),
        ("state_bytes", size, [pointer, number]),
        ("sample", number, [size, pointer, real, number, real, real, real]),
    ):
        function = getattr(library, f"cn_{name}")
        function.restype, function.argtypes = result, arguments
