"""A Ray of one's own that listens on this machine only, and leaves nothing behind."""

import contextlib
import logging
import os
import resource
import secrets
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from codenas.errors import ConfigError, ResourceError, os_error_reason
from codenas.interrupts import held
from codenas.log import LOGGER
from codenas.loopback import bypass_proxies
from tune_jobs.cluster.head_watch import head_watched, listens
from tune_jobs.cluster.reaper import reaped_folder

_ROOT = Path(__file__).parents[2]
OBJECT_STORE_BYTES = 300_000_000  # Ray would take a third of the memory; blocks of the corpus are small
# Each process reserves addresses, most of them never used: a worker with torch 2.3 GB, and a trial of the demo's size 0.6 more.
# Below that Ray hangs in its start, or its workers die one after the other.
LEAST_ADDRESS_BYTES = 3_000_000_000
_TIMEOUT_S = 10
_TRIES = 3  # of a head that does not get the server of a client ready in time, or loses it while it starts


@contextlib.contextmanager
def local_ray(cpus: int | None = None, address: str | None = None) -> Iterator[Path]:
    """Start Ray on 127.0.0.1, or join the cluster at `address`; what was started here is shut down on leaving.

    Yields a folder for what is thrown away: it goes with this process, also when that is killed.

    Raises:
        ConfigError: `address` is none.
        ResourceError: no cluster answers at `address`, or none can be started here.
    """
    if address is None:
        _require_addresses()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] = "1"  # read when Ray is imported: set before that is
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with reaped_folder() as folder:
        if address is not None:
            with _joined(address):
                yield folder
        else:
            try:
                with held():  # half a start cannot be taken back
                    _start(cpus, folder)
                yield folder
            finally:
                _stop()


def _require_addresses() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_BYTES:
        raise ResourceError(
            f"a process may have {limit / 1e9:.1f} GB of addresses here and Ray's reserve up to {LEAST_ADDRESS_BYTES / 1e9:.1f} GB; "
            "lift the limit (ulimit -v unlimited); search --no-ray needs no Ray"
        )


def _start(cpus: int | None, folder: Path) -> None:
    bypass_proxies()  # gRPC of Ray's processes reads the environment too
    _require_token()
    _stay_on_loopback()
    try:
        with contextlib.chdir(_ROOT):  # Ray's workers import from here first: a queue.py of the user's would be taken for Python's
            _init(
                address="local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(
            f"Ray cannot be started here ({reason}); it takes memory, processes and open files (ulimit -a); search --no-ray needs none"
        ) from error


def _stay_on_loopback() -> None:
    """Ray rewrites 127.0.0.1 to the host's own address, and listens to the network, wherever clusters are enabled.

    The variable turns them off for the processes that Ray starts. Here the module may have been imported and the variable
    read long before: hence the constant. Both are private to Ray; a test that lists every listener holds them.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False


def _init(**options: Any) -> None:
    """`ray.init` without Ray's own handler of SIGTERM, which leaves at once, and its own words.

    Another one, in C++, aborts, and takes ours away with it when Ray is shut down: a variable turns it off, see `local_ray`. The
    words are what a raylet prints of a process that died; the search says so in a line. What is switched off by
    assignment is private to Ray; tests that interrupt the start and kill a trial hold it.
    """
    import ray
    from ray._private import utils, worker

    utils.set_sigterm_handler = lambda _handler: None
    worker.print_to_stdstream = lambda said, **_: LOGGER.debug("\n".join(said["lines"]))
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def _stop() -> None:
    if "ray" in sys.modules:
        import ray

        with held():
            ray.shutdown()


def _require_token() -> None:
    """Other users of this machine reach 127.0.0.1 too. Ray reads the mode when it is imported; later it must stay as it is."""
    if "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    if address != "auto":
        require_listener(address)  # first: nothing of this process is changed for a cluster that is not there
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "5")  # of about two seconds each, with a warning; by default 20
    bypass_proxies(f"//{host_and_port(address)[0]}" if address != "auto" else None)
    try:
        host, port = host_and_port(_join(address))
        with head_watched(host, port):
            yield
    finally:
        _stop()


def _join(address: str) -> str:
    """Returns what `auto` stands for."""
    from ray._private import services
    from ray.exceptions import AuthenticationError

    try:
        if address == "auto":
            address = services.canonicalize_bootstrap_address_or_die(address)
            require_listener(address)  # the last one that Ray remembers may be long gone
        if _listens_on_loopback_only(address):
            _stay_on_loopback()
        with held(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Ray's client warns of is in the error, too
            _init_patiently(address)
        return address
    except AuthenticationError as error:
        raise ConfigError(f"no token for the cluster at {address}; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of it") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(
            f"no Ray cluster answers at {address} ({_reason(error)}), or it does not know this RAY_AUTH_TOKEN; check both"
        ) from error


def _init_patiently(address: str) -> None:
    """The head starts a server for each client; where that fails, Ray's client does not ask for another one."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ConnectionAbortedError):
            return _init(address=address)
    return _init(address=address)


def _reason(error: Exception) -> str:
    """One line: the first that Ray says, or the last where the head answers with a traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if isinstance(error, ConnectionAbortedError) else 0]


def _listens_on_loopback_only(address: str) -> bool:
    """Whether Ray would look for the cluster at this machine's own address in vain, for minutes."""
    from ray._private import services

    host, port = host_and_port(address)
    if host not in ("127.0.0.1", "localhost"):
        return False
    own: str = services.get_node_ip_address()  # type: ignore[no-untyped-call]
    return not listens(own, port, _TIMEOUT_S)


def require_listener(address: str) -> None:
    """See that somebody listens at `address`, HOST:PORT or a URL: Ray tries for minutes, and cannot be interrupted meanwhile.

    Raises:
        ConfigError: it is no address.
        ResourceError: nobody listens.
    """
    try:
        socket.create_connection(host_and_port(address), _TIMEOUT_S).close()
    except OSError as error:
        raise ResourceError(
            f"nobody listens at {address} ({os_error_reason(error)}); check --address, and that the port is open"
        ) from error


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT or of a URL.

    Raises:
        ConfigError: it is neither.
    """
    with contextlib.suppress(ValueError):  # a port that is no number
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname is not None and parts.port is not None:
            return parts.hostname, parts.port
    raise ConfigError(f"{address!r} is no address of a Ray cluster; 127.0.0.1:6379 is one, auto is the cluster of this machine")
