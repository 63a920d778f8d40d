"""Landlock: a process gives up the file system but for some folders that it may read. Needs neither root nor namespaces.

See landlock(7). Restrictions add up, are inherited and cannot be lifted.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # system calls, the same on every architecture
_VERSION = 1 << 0
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
# Rights on files and scopes that a version of the interface added; unknown ones must not be asked for.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_FROM, _NETWORK = 4, 0b11  # bind and connect of TCP
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract Unix sockets and signals stay inside


def version() -> int:
    """The version of the kernel's interface; 0 where there is no Landlock."""
    return max(0, _libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION)))


def restrict_files(readable: Iterable[Path]) -> None:
    """Refuse this process all access to files, for good, but reading below `readable`; also TCP, and signals to others where known.

    Raises:
        OSError: the kernel refuses it.
    """
    known = version()
    rights = max(bits for since, bits in _FILE_RIGHTS.items() if since <= max(known, 1))
    network = _NETWORK if known >= _NETWORK_FROM else 0
    scopes = _SCOPES if known >= _SCOPES_FROM else 0
    attributes = struct.pack("=QQQ", rights, network, scopes)[: 24 if scopes else 16 if network else 8]
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: Path) -> None:
    if not path.exists():
        return
    rights = _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0)
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), struct.pack("=Qi", rights, beneath), ctypes.c_uint(0))
    finally:
        os.close(beneath)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses the restriction")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
