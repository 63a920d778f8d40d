"""The device of torch that work runs on."""

import torch

from codenas.errors import ConfigError


def best_device() -> str:
    """A GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_device(name: str) -> str:
    """The device that `name` means here: `auto` is the best one.

    Raises:
        ConfigError: torch has no such device here.
    """
    if name == "auto":
        return best_device()
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if name != "cpu" and not ((name == "cuda" and count) or (index.isdecimal() and int(index) < count)):
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise ConfigError(f"--device {name}: torch finds no such device here; there is {here}")
    return name
