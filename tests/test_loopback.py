"""Which addresses are this machine's own, and how libraries are kept from proxies for them."""

import os
from urllib.request import getproxies, proxy_bypass

import pytest
import requests

from codenas.loopback import bypass_proxies, is_loopback
from tests.loopback import proxied_environment

OWN = (
    "http://127.0.0.1:8000", "https://127.9.8.7/x", "http://localhost", "http://LOCALHOST.:1", "http://a.localhost", "ray://[::1]:10001",
    "http://[::ffff:127.0.0.1]:3", "http://0.0.0.0:8000", "http://[::]:8000", "http://127.1", "http://me:key@127.0.0.1",
)  # fmt: skip
OTHERS = (
    "http://example.org", "http://10.0.0.1", "http://127.0.0.1.example.org", "http://localhost.example.org", "http://[::2]",
    "http://127.0.0.1@example.org", "http://[", "127.0.0.1:8000", "", "http://\N{SUPERSCRIPT TWO}",
)  # fmt: skip


@pytest.mark.parametrize("url", OWN)
def test_the_machine_s_own(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", OTHERS)
def test_others(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize("listed", ["", "example.org", "example.org , localhost", "*"])
def test_libraries_bypass_proxies_on_loopback_and_keep_what_is_listed(listed: str) -> None:
    with proxied_environment():
        os.environ["NO_PROXY"] = listed
        bypass_proxies("http://127.0.0.7:1")
        bypass_proxies()
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] and os.environ["NO_PROXY"].count("localhost") <= 1
        for host in ("localhost", "127.0.0.1", "127.0.0.7"):
            assert proxy_bypass(host)
            assert not requests.utils.get_environ_proxies(f"http://{host}:8265")
        assert bool(proxy_bypass("example.org")) == bool(listed) and bool(proxy_bypass("example.com")) == (listed == "*")
        assert "http" in getproxies()
