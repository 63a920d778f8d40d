"""The backend that a model is served with here, and what its latencies are measured on."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from codenas.arch.spec import ArchSpec
from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend
from codenas.decode.choice import BackendOptions, choose_backend, open_backend
from codenas.measure.workload import MAX_BATCH
from codenas.metrics import LatencyContext


def open_served(model: StoredModel, device: str = "cpu") -> tuple[Backend, LatencyContext]:
    """The backend that serves one sequence of `model`, with torch's number of threads, and its context."""
    return open_backend(model, _options(device)), served_context(device, model.arch)


def served_context(device: str = "cpu", arch: ArchSpec | None = None) -> LatencyContext:
    """What a latency that is measured in this process as it is now is measured on.

    Args:
        arch: of the model; None for one that every backend knows.
    """
    options = _options(device)
    choice = choose_backend(arch or ArchSpec(), options)
    return context_on(device, options.threads, choice.name, choice.precision)


def context_on(device: str, threads: int, backend: str, precision: str) -> LatencyContext:
    """What is measured with `backend` on `device` (of torch). The CPU time of a thread stands still while other processes run."""
    clock: Literal["CPU", "wall"] = "CPU" if device == "cpu" and threads == 1 else "wall"
    return LatencyContext(device=device_name(device), threads=threads, precision=precision, backend=backend, clock=clock)


def clock_of(context: LatencyContext) -> Callable[[], float]:
    """The clock of `context`, in seconds."""
    return time.thread_time if context.clock == "CPU" else time.perf_counter


def _options(device: str) -> BackendOptions:
    return BackendOptions(max_tokens=MAX_BATCH, threads=torch.get_num_threads(), device=device)


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
