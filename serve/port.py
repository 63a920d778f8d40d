"""Checks that a port is free before Ray starts, where a busy port is a traceback in another process."""

import errno
import socket

import psutil

from codenas.errors import ResourceError, os_error_reason


def require_free_port(host: str, port: int) -> None:
    """Check that `port` of `host` can be listened on.

    Raises:
        ResourceError: it cannot; with the process that holds it, where that can be seen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        try:
            probe.bind((host, port))
            # With this option Linux lets two sockets bind one port; only listening fails for certain.
            probe.listen(1)
        except (TypeError, ValueError) as error:  # characters that no name of a host has
            way_out = "choose a --host of this machine, such as 127.0.0.1"
            raise ResourceError(f"cannot listen on {host!r}: it is no name of a host; {way_out}") from error
        except OSError as error:
            reason = os_error_reason(error)
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise ResourceError(f"cannot listen on {host}: {reason}; choose a --host of this machine, such as 127.0.0.1") from error
            raise ResourceError(f"cannot listen on {host}:{port}: {reason}{_holder(port)}; choose another --port") from error


def _holder(port: int) -> str:
    try:
        listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
        pid = next((each.pid for each in listening if each.laddr and each.laddr.port == port), None)
        return "" if pid is None else f" by process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return ""
