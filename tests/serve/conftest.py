"""One endpoint without Ray for all tests that only read from it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serve.servers import running, tiny_app


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of an endpoint of a tiny model."""
    with running(tiny_app()) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
