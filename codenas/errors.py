"""The exceptions of CodeNAS. A message has the value, the bound and a remedy; the command line prints it as one line."""

import errno
from collections.abc import Mapping
from typing import Any, Protocol

# Messages of torch (GPU and CPU), the system, C++ and the loader: on a CPU none of them has its own exception for it.
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc", "failed to map segment",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
_DEVICE_FAILED = ("CUDA error", "device-side assert", "cuDNN error", "CUDNN_STATUS_EXECUTION_FAILED")


class CodeNASError(Exception):
    """Base class of the errors that CodeNAS raises."""


class UserError(CodeNASError):
    """An error that the user can correct: the command line prints one line and exits with code 2."""


class ConfigError(UserError):
    """An unknown key or an illegal value in a job file, an option or a specification."""


class CorpusError(UserError):
    """A corpus or its source is missing, empty, too small or damaged."""


class SourceTooSmallError(CorpusError):
    """Too little is left of a source to make a corpus: other settings or more code are needed."""


class BudgetError(UserError):
    """No architecture in the search space can satisfy a limit."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete, modified or of another model."""


class RunError(UserError):
    """A run folder is in use or belongs to another job."""


class NoWinnerError(UserError):
    """The search is finished and no candidate that reached the last rung satisfies the limits."""


class ResourceError(UserError):
    """A resource is missing: disk space, memory, a port, a device."""


class TrialFailure(CodeNASError):
    """One candidate failed (diverged, out of memory). The search records the reason and continues."""


class LeakError(CodeNASError):
    """A model sees tokens that it must predict: all its metrics are invalid."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, of whatever type, is due to a lack of memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in _NO_MEMORY):
        return True
    # The recording of a CUDA graph that an error ends complains about its own end as well.
    return isinstance(error, RuntimeError) and error.__context__ is not None and is_out_of_memory(error.__context__)


def device_failure(error: BaseException) -> str | None:
    """What a GPU has failed with, in one line, where `error` leaves it unusable to this process; None for any other error.

    After an illegal access or a failed assertion in a kernel every later call of the process fails with the same error ("sticky"). It
    is reported where the host next asks, so it need not be of the work that it is raised in.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return None
    failed = type(error).__name__ == "AcceleratorError" or any(sign in str(error) for sign in _DEVICE_FAILED)
    return next(iter(str(error).strip().splitlines()), type(error).__name__) if failed else None


def os_error_reason(error: OSError) -> str:
    """The reason of `error`, in one line. An error that a library raised may have a message only, no errno and no `strerror`."""
    words = error.strerror or str(error).strip() or type(error).__name__
    return words.splitlines()[0]


class _ValidationErrors(Protocol):
    def errors(self) -> list[Any]:
        """The errors that pydantic found: location, message and type of each."""


def first_error(error: _ValidationErrors) -> str:
    """The first error that pydantic found, in one line: the field and the reason."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    reason = readable_reason(fault).splitlines()[0]
    return f"{place}: {reason}" if place else reason


def readable_reason(fault: Mapping[str, Any]) -> str:
    """The reason of one error that pydantic found. Job files are TOML and JSON, which have lists, not tuples."""
    if fault["type"] == "tuple_type":
        return "Input should be a list, such as [1, 2]"
    return str(fault["msg"]).removeprefix("Value error, ")
