"""The device of torch that work runs on, and why a GPU cannot be used."""

import re
from pathlib import Path

import torch

from codenas.errors import ConfigError, ResourceError

# The oldest NVIDIA driver that runs programs of a major version of CUDA, for Linux (NVIDIA's "CUDA Compatibility", minor version
# compatibility). https://docs.nvidia.com/deploy/cuda-compatibility/
_OLDEST_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
GIVEN_GPU = "cuda"  # the device of a process that a scheduler gave a GPU: its only one, or the first of them
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")


def best_device() -> str:
    """The GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_device(name: str) -> str:
    """The device called `name` on this machine; `auto` is the best one.

    Raises:
        ConfigError: torch has no such device here.
    """
    if name == "auto":
        return best_device()
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if name != "cpu" and not ((name == "cuda" and count) or (index.isdecimal() and int(index) < count)):
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise ConfigError(f"--device {name}: torch finds no such device; available: {here}")
    return name


def gpu_number(device: str) -> int:
    """The number of a GPU of torch among those that this process sees: `cuda` is the first."""
    return int(device.partition(":")[2] or 0)


def visible_gpus() -> tuple[str, ...]:
    """The names of the GPUs that torch sees in this process, in the order of their numbers."""
    return tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()


def require_visible_gpu() -> None:
    """Check that torch sees a GPU, in a process that was given one.

    Raises:
        ResourceError: it sees none; the message says which versions were found and which are needed.
    """
    if not torch.cuda.is_available():
        raise ResourceError(f"{gpu_fault(torch.__version__, torch.version.cuda, driver_version())}; nothing is trained on the CPU instead")


def gpu_fault(torch_version: str, cuda: str | None, driver: str | None) -> str:
    """Why torch sees no GPU where there should be one, and the remedy.

    Args:
        cuda: the version of CUDA that torch was built for; None for a build without it.
        driver: the version of the NVIDIA driver; None where none is loaded.
    """
    found = f"torch sees no GPU: torch {torch_version}"
    if cuda is None:
        return f"{found} is built without CUDA; install a build with it"
    oldest = _OLDEST_DRIVERS.get(int(cuda.partition(".")[0]))
    needed = f"NVIDIA driver {oldest} or later" if oldest else "a newer NVIDIA driver"
    if driver is None:
        return f"{found} is built for CUDA {cuda}, which needs {needed}, and no driver is loaded; install it"
    if oldest and _version(driver) < _version(oldest):
        return (
            f"{found} is built for CUDA {cuda}, which needs {needed}, and driver {driver} is loaded; update it, or install an older torch"
        )
    return f"{found}, CUDA {cuda} and driver {driver} go together, but no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES"


def driver_version(file: Path = _DRIVER_VERSION) -> str | None:
    """The version of the loaded NVIDIA driver; None where none is loaded."""
    try:
        found = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", file.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found.group() if found else None


def _version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
