"""The error tree. A message carries the value, the bound and the way out; the command line prints it as one line."""

import errno
from typing import Any, Protocol

# What torch (on a GPU, on a CPU), the system, C++ and its loader say; on a CPU none of them has an exception of its own for it.
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc", "failed to map segment",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip


class CodeNASError(Exception):
    """Base of every error that CodeNAS raises on purpose."""


class UserError(CodeNASError):
    """Something the user can mend: the command line prints one line and exits with 2."""


class ConfigError(UserError):
    """An unknown key or an illegal value in a job file, an option or a specification."""


class CorpusError(UserError):
    """A corpus or its source is missing, empty, too small or broken."""


class BudgetError(UserError):
    """No architecture of the space can meet a limit."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete, altered or of another model."""


class RunError(UserError):
    """A run folder is in use or belongs to another job."""


class NoWinnerError(UserError):
    """A search is over and nobody reached the last rung, or nobody who did is inside the limits."""


class ResourceError(UserError):
    """The machine lacks what the work needs: disk, memory, a port, a device."""


class TrialFailure(CodeNASError):
    """One candidate failed (diverged, out of memory). The search records the reason and goes on."""


class LeakError(CodeNASError):
    """A model sees what it must predict: every figure of it is void."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, whatever its type, says that memory ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in _NO_MEMORY)


def os_error_reason(error: OSError) -> str:
    """What `error` says, in one line. One that a library raised has no errno and no `strerror`, only words."""
    words = error.strerror or str(error).strip() or type(error).__name__
    return words.splitlines()[0]


class _Faults(Protocol):
    def errors(self) -> list[Any]:
        """What pydantic lists: place, message and type of each fault."""


def first_fault(error: _Faults) -> str:
    """The first fault that pydantic found, in one line: which field, and why."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    reason = fault["msg"].removeprefix("Value error, ").splitlines()[0]
    return f"{place}: {reason}" if place else reason
