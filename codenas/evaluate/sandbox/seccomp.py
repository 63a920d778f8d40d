"""A seccomp filter that allows the system calls of a process that computes, reads files and answers on a pipe, and refuses all others.

An allow-list: what a later kernel adds is refused as well. A refused call fails with EPERM, which Python raises as `PermissionError`,
so that the code is told why. See seccomp(2) and the kernel's documentation of seccomp filters.
"""

import ctypes
import platform
import struct

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers on x86-64 and on ARM; None where the architecture has no such call. No fork, clone, exec, socket, kill, ptrace, mount, memfd.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "ioctl": (16, 29), "pread64": (17, 67), "access": (21, None), "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216),
    "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101), "getitimer": (36, 102), "setitimer": (38, 103), "getpid": (39, 172),
    "exit": (60, 93), "uname": (63, 160), "fcntl": (72, 25), "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "sigaltstack": (131, 132), "gettid": (186, 178),
    "time": (201, None), "futex": (202, 98), "getdents64": (217, 61), "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "openat": (257, 56), "newfstatat": (262, 79),
    "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73), "poll": (7, None), "stat": (4, None),
    "lstat": (6, None), "open": (2, None), "getrandom": (318, 278), "statx": (332, 291), "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
_ALLOW, _KILL_PROCESS, _EPERM = 0x7FFF0000, 0x80000000, 0x00050000 | 1
_NUMBER_OFFSET, _ARCH_OFFSET = 0, 4  # in struct seccomp_data
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def supported() -> bool:
    """Whether this kernel filters system calls, and the filter is written for this processor."""
    libc = ctypes.CDLL(None, use_errno=True)
    # With a null pointer for the filter a kernel that has the feature answers EFAULT.
    return platform.machine() in _AUDIT_ARCH and libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0) == -1 and ctypes.get_errno() == 14


def restrict_system_calls() -> None:
    """Install the filter in this process, for good.

    Raises:
        OSError: the kernel refuses it.
    """
    code = _filter(platform.machine())
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp refuses the filter")


def _filter(machine: str) -> bytes:
    """The BPF program: calls of another architecture (32-bit ones, with other numbers) end the process."""
    column = list(_AUDIT_ARCH).index(machine)
    numbers = sorted(number for call in _ALLOWED.values() if (number := call[column]) is not None)
    code = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    for place, number in enumerate(numbers):
        code.append((_EQUAL, len(numbers) - place, 0, number))  # to the last instruction
    code += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
