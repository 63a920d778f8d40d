"""Addresses of a Ray cluster: parsing them, and checking that something listens there."""

import contextlib
import socket
from urllib.parse import urlsplit

from codenas.errors import ConfigError, ResourceError, os_error_reason

TIMEOUT_S = 10


def host_and_port(address: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT or of a URL.

    Raises:
        ConfigError: `address` is neither.
    """
    with contextlib.suppress(ValueError):  # the port is not a number
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname is not None and parts.port is not None:
            return parts.hostname, parts.port
    raise ConfigError(f"{address!r} is no address of a Ray cluster; 127.0.0.1:6379 is one, auto is the cluster of this machine")


def listens(host: str, port: int, timeout: float = TIMEOUT_S) -> bool:
    """Whether `host`:`port` accepts a connection within `timeout` seconds."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True


def require_listener(address: str) -> None:
    """Check that `address`, HOST:PORT or a URL, accepts connections: Ray retries for minutes and cannot be interrupted meanwhile.

    Raises:
        ConfigError: `address` is not an address.
        ResourceError: nothing listens there.
    """
    try:
        socket.create_connection(host_and_port(address), TIMEOUT_S).close()
    except OSError as error:
        raise ResourceError(
            f"nothing listens at {address} ({os_error_reason(error)}); check --address, and that the port is open"
        ) from error
