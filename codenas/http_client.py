"""HTTP clients for all requests of CodeNAS: loopback is reached directly, other hosts through the proxies of the environment."""

import os
from typing import Any

import httpx

from codenas.errors import ConfigError
from codenas.loopback import is_loopback

_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
_WITHOUT_PROXY: dict[str, httpx.BaseTransport | None] = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}


def http_client(url: str, **options: Any) -> httpx.Client:
    """A client for requests to the host of `url`; `options` are those of `httpx.Client`.

    A proxy for a loopback request would receive the prompt and the API key of a local endpoint.

    Raises:
        ConfigError: the environment names a proxy that cannot be used.
    """
    try:
        if is_loopback(url):
            options.setdefault("verify", httpx.create_ssl_context())  # of the environment too, which trust_env=False would leave out
            return httpx.Client(**options, trust_env=False)
        return httpx.Client(**options, mounts=_WITHOUT_PROXY)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        reason = str(error).partition(". Make sure")[0].splitlines()[0]
        raise ConfigError(f"the proxy in {_set_variables()} cannot be used ({reason}); unset it, or install what it needs") from error


def _set_variables() -> str:
    """The variables that name a proxy. Their values can hold a password."""
    spellings = (spelling for name in _VARIABLES for spelling in (name, name.lower()))
    return ", ".join(name for name in spellings if os.environ.get(name)) or "the environment"
