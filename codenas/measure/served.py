"""The backend that a model is served with here, and what its latencies are measured on."""

import platform
from pathlib import Path
from typing import Literal

import torch

from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend
from codenas.decode.choice import AS_STORED, BackendOptions, native_backend, torch_backend
from codenas.decode.native.library import available_targets
from codenas.decode.native.structures import supports
from codenas.measure.workload import MAX_BATCH
from codenas.metrics import LatencyContext

NATIVE = "native"
SERVES_NATIVE = False  # until the library knows every mixer: latencies of two backends would not compare
_NATIVE = {"backend": NATIVE, "precision": AS_STORED}
_TORCH = {"backend": "torch", "precision": "float32"}


def open_served(model: StoredModel, device: str = "cpu") -> tuple[Backend, LatencyContext]:
    """The backend that serves one sequence of `model`, with torch's number of threads, and its context."""
    context = served_context(device)
    options = BackendOptions(max_tokens=MAX_BATCH, threads=context.threads, device=device)
    if context.backend == NATIVE and supports(model.arch):
        return native_backend(model, options), context
    return torch_backend(model, options), context.model_copy(update=_TORCH)


def served_context(device: str = "cpu") -> LatencyContext:
    """What a latency that is measured in this process as it is now is measured on."""
    engine = _NATIVE if SERVES_NATIVE and device == "cpu" and available_targets() else _TORCH
    threads = torch.get_num_threads()
    # The CPU time of the only thread that computes stands still while other processes run.
    clock: Literal["CPU", "wall"] = "CPU" if device == "cpu" and threads == 1 else "wall"
    return LatencyContext(device=device_name(device), threads=threads, clock=clock, **engine)


def device_name(device: str = "cpu") -> str:
    """The name of a device of torch, as the device itself gives it."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not a Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
