"""Clients that leave, push, dawdle or do not read; and the places that they take and give back."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.serve.models import Gated, gated_model
from tests.serve.servers import PATIENCE_S, running, tiny_app, until

JSON = {"Content-Type": "application/json"}
MANY = 10_000  # steps: more than any test needs


@contextmanager
def gated(open_steps: int = 0, **settings: object) -> Iterator[tuple[httpx.Client, Gated]]:
    """A client of an endpoint whose model makes `open_steps` steps and then waits for the test."""
    model = gated_model(open_steps)
    with running(tiny_app(model, **settings)) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        yield client, model
        model.gate.release(MANY)


def body(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a", "max_tokens": 60, "temperature": 0, **fields}


def load(client: httpx.Client) -> tuple[int, int]:
    """Sequences that are active and that wait."""
    health = client.get("/health").json()
    return health["active"], health["waiting"]


def send_raw(url: httpx.URL, request: dict[str, Any]) -> socket.socket:
    """A connection on which the request has been sent and nothing was read."""
    content = json.dumps(request).encode()
    connection = socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_S)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_stops_the_decoding(streamed: bool) -> None:
    with gated(open_steps=3) as (client, model):
        connection = send_raw(client.base_url, body(n=4, stream=streamed))
        until(lambda: model.steps == 3)
        connection.close()
        until(lambda: load(client) == (0, 0), between=model.gate.release)
        assert model.steps < 60
        model.gate.release(MANY)
        assert client.post("/v1/completions", json=body(max_tokens=2)).status_code == 200


def test_a_client_that_leaves_the_queue_frees_its_place() -> None:
    with gated(max_batch=1, max_queue=1) as (client, model):
        first = send_raw(client.base_url, body())
        until(lambda: load(client)[0] + load(client)[1] == 1)
        second = send_raw(client.base_url, body())
        until(lambda: sum(load(client)) == 2)
        second.close()
        until(lambda: sum(load(client)) == 1)
        assert model.steps == 0, "it left while the first prompt was still being read"
        first.close()


def test_many_clients_that_leave_leave_nothing() -> None:
    with gated(open_steps=MANY) as (client, _):
        for number in range(100):
            send_raw(client.base_url, body(n=2, stream=number % 2 == 0)).close()
        until(lambda: load(client) == (0, 0))
        assert client.post("/v1/completions", json=body(max_tokens=2)).status_code == 200


def test_requests_beyond_the_queue_get_429_with_retry_after() -> None:
    with gated(max_batch=2, max_queue=3) as (client, model), ThreadPoolExecutor(40) as clients:
        admitted = [clients.submit(client.post, "/v1/completions", json=body()) for _ in range(5)]
        until(lambda: sum(load(client)) == 5)
        refused = list(clients.map(lambda _: client.post("/v1/completions", json=body()), range(30)))
        assert {response.status_code for response in refused} == {429}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        assert refused[0].json()["error"]["code"] == "overloaded"
        assert client.get("/ready").status_code == 503 and client.get("/health").status_code == 200
        model.gate.release(MANY)
        assert {response.result().status_code for response in admitted} == {200}
        assert client.get("/ready").status_code == 200
        assert client.post("/v1/completions", json=body()).status_code == 200


def test_a_client_that_does_not_read_does_not_slow_others() -> None:
    with gated(open_steps=MANY) as (client, _):
        silent = [send_raw(client.base_url, body(n=8, stream=True)) for _ in range(4)]
        assert client.post("/v1/completions", json=body()).status_code == 200
        until(lambda: load(client) == (0, 0))
        for connection in silent:
            connection.close()


def test_a_body_that_does_not_come_is_given_up() -> None:
    with running(tiny_app(upload_seconds=0.1)) as url:
        parsed = httpx.URL(url)
        with socket.create_connection((parsed.host, parsed.port or 80), timeout=PATIENCE_S) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_body_that_is_too_large_is_refused_unread() -> None:
    with running(tiny_app(max_body_bytes=1000)) as url, httpx.Client(base_url=url) as client:
        stated = client.post("/v1/completions", content=b"x" * 1001, headers=JSON)
        unstated = client.post("/v1/completions", content=(b"x" * 100 for _ in range(11)), headers=JSON)
        for response in (stated, unstated):
            assert response.status_code == 413
            assert response.json()["error"]["message"] == "the body is larger than 1000 bytes; send less"
        largest = json.dumps(body(max_tokens=2))
        largest = largest[:-1] + " " * (1000 - len(largest)) + "}"
        assert client.post("/v1/completions", content=largest, headers=JSON).status_code == 200


def test_a_lie_about_the_length() -> None:
    with running(tiny_app(max_body_bytes=1000)) as url, httpx.Client(base_url=url) as client:
        for length in ("-1", "1e9", "9" * 30):
            with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=PATIENCE_S) as connection:
                head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(1000).split()[1] in (b"400", b"413")
        assert client.get("/health").status_code == 200


def test_a_key_is_needed_where_one_is_set() -> None:
    with running(tiny_app(api_key="right")) as url, httpx.Client(base_url=url) as client:
        for wrong in (None, "", "right", "Bearer", "Bearer wrong", "bearer right", "Basic right", "Bearer " + "x" * 20_000, "Bearer ré"):
            headers = [] if wrong is None else [(b"Authorization", wrong.encode())]
            response = client.post("/v1/completions", json=body(), headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models", headers={"Authorization": "Bearer right"}).status_code == 200


def test_when_the_engine_stops_requests_fail_and_the_log_has_the_reason() -> None:
    app = tiny_app()
    with running(app) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:

        def explode() -> None:
            raise RuntimeError("boom")

        app.state.engine._engine.step = explode
        for _ in range(2):
            assert client.post("/v1/completions", json=body()).status_code == 500
        for path in ("/health", "/ready"):
            response = client.get(path)
            assert (response.status_code, response.json()["status"]) == (503, "down")
