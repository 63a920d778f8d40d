"""Joining a running Ray cluster."""

import contextlib
import os
import warnings
from collections.abc import Iterator

from codenas.errors import ConfigError, ResourceError
from codenas.interrupts import interrupts_deferred
from codenas.loopback import bypass_proxies
from tune_jobs.cluster import ray_process
from tune_jobs.cluster.address import host_and_port, listens, require_listener
from tune_jobs.cluster.head_watch import head_watched

_ATTEMPTS = 3  # the head may not have a client's server ready in time, or lose it during its start


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """Join the cluster at `address`, HOST:PORT, ray://HOST:PORT or `auto`, until the block ends.

    Raises:
        ConfigError: `address` is not an address, or the cluster wants a token.
        ResourceError: no cluster answers there.
    """
    if address != "auto":
        require_listener(address)  # before the environment is changed
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "5")  # about two seconds each, with a warning; the default is 20
    bypass_proxies(None if address == "auto" else f"//{host_and_port(address)[0]}")
    try:
        host, port = host_and_port(join(address))
        with head_watched(host, port):
            yield
    finally:
        ray_process.shutdown()


def join(address: str) -> str:
    """Connect to the cluster at `address`; returns its address, also for `auto`. Raises the same errors as `joined`."""
    from ray._private import services
    from ray.exceptions import AuthenticationError

    try:
        if address == "auto":
            address = services.canonicalize_bootstrap_address_or_die(address)
            require_listener(address)  # the address that Ray recorded may be of a stopped cluster
        if _listens_on_loopback_only(address):
            ray_process.stay_on_loopback()
        with interrupts_deferred(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error contains it too
            _init_with_retries(address)
        return address
    except AuthenticationError as error:
        raise ConfigError(f"no token for the cluster at {address}; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of it") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ResourceError(f"no Ray cluster answers at {address} ({_reason(error)}), or RAY_AUTH_TOKEN is wrong; check both") from error


def _init_with_retries(address: str) -> None:
    """The head starts a server for each client; if that fails, Ray's client does not retry."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(ConnectionAbortedError):
            return ray_process.init(address=address)
    return ray_process.init(address=address)


def _reason(error: Exception) -> str:
    """One line: the first of Ray's message, or the last where the head answers with a traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if isinstance(error, ConnectionAbortedError) else 0]


def _listens_on_loopback_only(address: str) -> bool:
    """Whether the cluster listens on loopback only; Ray would try this machine's own address for minutes."""
    from ray._private import services

    host, port = host_and_port(address)
    if host not in ("127.0.0.1", "localhost"):
        return False
    own: str = services.get_node_ip_address()  # type: ignore[no-untyped-call]
    return not listens(own, port)
