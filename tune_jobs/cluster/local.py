"""Ray for one command: starts a cluster that listens on this machine only, or joins a running one."""

import contextlib
import os
import resource
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from codenas.errors import ResourceError
from codenas.interrupts import interrupts_deferred
from codenas.loopback import bypass_proxies
from tune_jobs.cluster import ray_process
from tune_jobs.cluster.join import joined
from tune_jobs.cluster.reaper import reaped_folder

_ROOT = Path(__file__).parents[2]
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
OBJECT_STORE_BYTES = 300_000_000  # Ray's default is a third of the memory; blocks of the corpus are small
# Each process reserves address space, most of it never used: a worker with torch 2.3 GB, and a trial of the demo's size 0.6 more.
# With less, Ray hangs while it starts, or its workers die one after the other.
MIN_ADDRESS_SPACE_BYTES = 3_000_000_000


@contextlib.contextmanager
def local_ray(cpus: int | None = None, address: str | None = None, gpus: Sequence[int] | None = None) -> Iterator[Path]:
    """Start Ray on 127.0.0.1, or join the cluster at `address`; what was started here is shut down at the end of the block.

    Yields a folder for temporary files, which is removed at the end, also if this process is killed.

    Args:
        gpus: the GPUs of this machine that a Ray started here may use, by their numbers in this process; all by default.

    Raises:
        ConfigError: `address` is not an address.
        ResourceError: no cluster answers at `address`, or none can be started here.
    """
    if address is None:
        _require_address_space()
    ray_process.prepare_environment()
    with reaped_folder() as folder:
        if address is not None:
            with joined(address):
                yield folder
        else:
            try:
                with interrupts_deferred(), _only_gpus(gpus):  # a start that is interrupted half way cannot be undone
                    _start(cpus, folder)
                yield folder
            finally:
                ray_process.shutdown()


@contextlib.contextmanager
def _only_gpus(numbers: Sequence[int] | None) -> Iterator[None]:
    """Let processes that are started in the block see these GPUs only. Within a node Ray hands out any GPU that it sees."""
    if numbers is None:
        yield
        return
    before = os.environ.get(_VISIBLE_GPUS)
    named = before.split(",") if before is not None else None  # by numbers or UUIDs of the machine
    os.environ[_VISIBLE_GPUS] = ",".join(named[number] if named is not None else str(number) for number in numbers)
    try:
        yield
    finally:
        del os.environ[_VISIBLE_GPUS]
        if before is not None:
            os.environ[_VISIBLE_GPUS] = before


def _require_address_space() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE_BYTES:
        raise ResourceError(
            f"the address space of a process is limited to {limit / 1e9:.1f} GB and Ray's processes reserve up to "
            f"{MIN_ADDRESS_SPACE_BYTES / 1e9:.1f} GB; lift the limit (ulimit -v unlimited), or search with --no-ray"
        )


def _start(cpus: int | None, folder: Path) -> None:
    bypass_proxies()  # gRPC in Ray's processes reads the environment too
    _require_token()
    ray_process.stay_on_loopback()
    try:
        with contextlib.chdir(_ROOT):  # Ray's workers import from here first: a queue.py of the user's would be taken for Python's
            ray_process.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(
            f"Ray cannot be started here ({reason}); it needs memory, processes and open files (ulimit -a); search --no-ray needs no Ray"
        ) from error


def _require_token() -> None:
    """Other users of this machine reach 127.0.0.1 too. Ray reads the mode when it is imported; after that it must stay as it is."""
    if "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
