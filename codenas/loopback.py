"""Loopback addresses, and requests to them without a proxy."""

import ipaddress
import os
import socket
from urllib.parse import urlsplit

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine by its name or number: localhost, 127.0.0.0/8, ::1, or the unspecified address.

    No name is resolved: behind a proxy that can take long.
    """
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # brackets that do not match
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _is_short_loopback(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any(each.is_loopback or each.is_unspecified for each in (address, mapped) if each is not None)


def bypass_proxies(url: str | None = None) -> None:
    """Let no library of this process, and no process that it starts, use a proxy for loopback, nor for the host of `url` if it is that.

    Both spellings of the variable are set, because curl, gRPC and requests read the lower one first and others only the upper.
    """
    own = urlsplit(url).hostname if url is not None and is_loopback(url) else None
    listed = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    known = [host.strip() for host in listed if host.strip()]
    wanted = ["*"] if "*" in known else [*known, *_LOOPBACK_HOSTS, *([own] if own else [])]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(dict.fromkeys(wanted))


def _is_short_loopback(host: str) -> bool:
    """Whether `host` is an abbreviation such as 127.1, which the system takes for 127.0.0.1."""
    try:
        return socket.inet_aton(host)[0] == 127
    except (OSError, UnicodeError, ValueError):
        return False
