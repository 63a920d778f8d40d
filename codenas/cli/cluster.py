"""A Ray of one's own that listens on this machine only, and leaves nothing behind."""

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from codenas.cli.reaper import reaped_folder

OBJECT_STORE_BYTES = 300_000_000  # Ray would take a third of the memory; blocks of the corpus are small


@contextlib.contextmanager
def local_ray(cpus: int | None = None, address: str | None = None) -> Iterator[Path]:
    """Start Ray on 127.0.0.1, or join the cluster at `address`; what was started here is shut down on leaving.

    Yields a folder for what is thrown away: it goes with this process, also when that is killed.

    Raises:
        ResourceError: no cluster answers at `address`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with reaped_folder() as folder:
        if address is not None:
            with _joined(address):
                yield folder
        else:
            _start(cpus, folder)
            try:
                yield folder
            finally:
                _stop()


def _start(cpus: int | None, folder: Path) -> None:
    """Ray rewrites 127.0.0.1 to the host's own address, and listens to the network, wherever clusters are enabled.

    The variable turns them off for the processes that Ray starts. Here the module may have been imported and the variable
    read long before: hence the constant. Both are private to Ray; a test that lists every listener holds them.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    _require_token()
    import ray
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder),
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray has just set its own, which aborts


def _stop() -> None:
    import ray

    ray.shutdown()


def _require_token() -> None:
    """Other users of this machine reach 127.0.0.1 too. Ray reads the mode when it is imported; later it must stay as it is."""
    if "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    from codenas.errors import ResourceError

    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(f"no Ray cluster answers at {address} ({reason}); check the address and RAY_AUTH_TOKEN") from error
    try:
        yield
    finally:
        ray.shutdown()
