"""The endpoint on a real Ray Serve: answers, streams, cancels, and listens on this machine only."""

import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray

from codenas.checkpoint import Checkpoint
from codenas.decode import Engine, SamplingParams, TorchBackend, complete
from codenas.errors import CheckpointError, ResourceError
from serve.launch import _require_reservation, build, start, stop
from serve.settings import ServeSettings
from tests.loopback import free_port
from tests.processes import title
from tests.serve.servers import CONTEXT, MODEL_NAME, PATIENCE_S, VOCABULARY, write_tiny_checkpoint

pytestmark = pytest.mark.cluster

SECRET = "xyzzy-plugh"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), context_len=4096)


@pytest.fixture(scope="module")
def settings(checkpoint: Checkpoint) -> ServeSettings:
    return ServeSettings(checkpoint=checkpoint.path, port=free_port(), model_name=MODEL_NAME, max_body_bytes=100_000)


@pytest.fixture(scope="module")
def client(ray_cluster: None, settings: ServeSettings) -> Iterator[httpx.Client]:
    start(settings)
    with httpx.Client(base_url=f"http://{settings.host}:{settings.port}", timeout=PATIENCE_S) as client:
        yield client
    stop()


def test_it_answers_what_the_checkpoint_says(client: httpx.Client, checkpoint: Checkpoint) -> None:
    text, reason = complete(Engine(TorchBackend(checkpoint.load_model())), VOCABULARY, SECRET, SamplingParams(max_tokens=20, temperature=0))
    response = client.post("/v1/completions", json={"prompt": SECRET, "max_tokens": 20, "temperature": 0})
    assert response.status_code == 200
    choice = response.json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (text, reason)
    assert response.json()["model"] == MODEL_NAME


def test_it_streams(client: httpx.Client) -> None:
    body = {"prompt": SECRET, "max_tokens": 20, "temperature": 0}
    whole = client.post("/v1/completions", json=body).json()
    with client.stream("POST", "/v1/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    *events, last = map(json.loads, lines)
    assert "".join(event["choices"][0]["text"] for event in events) == whole["choices"][0]["text"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_a_client_that_leaves_stops_the_decoding(client: httpx.Client) -> None:
    endless = {"prompt": "a", "n": 8, "max_tokens": 4000, "temperature": 0}  # ten seconds of decoding
    with client.stream("POST", "/v1/completions", json={**endless, "stream": True}) as response:
        lines = response.iter_lines()  # its end, if only by the garbage collector, closes the connection
        next(lines)
        assert client.get("/health").json()["active"] > 0
    assert_idle_soon(client)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json=endless, timeout=0.3)
    assert_idle_soon(client)


def assert_idle_soon(client: httpx.Client) -> None:
    """Nothing is decoded any more, long before the answer could have been complete."""
    started = time.monotonic()
    while client.get("/health").json() != {"status": "ok", "active": 0, "waiting": 0}:
        assert time.monotonic() - started < 3


def test_errors_pass_through_the_proxy(client: httpx.Client) -> None:
    json_header = {"Content-Type": "application/json"}
    for body, status in ((b"{", 400), (b'{"prompt": "a", "n": 9}', 400), (b'{"prompt": "a", "model": "b"}', 404), (b"x" * 100_001, 413)):
        response = client.post("/v1/completions", content=body, headers=json_header)
        assert (response.status_code, list(response.json())) == (status, ["error"])


def test_every_listener_is_on_loopback(client: httpx.Client, settings: ServeSettings) -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert any("ServeReplica" in title(process) for process in processes)
    listeners = [
        (process.name(), connection.laddr)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert settings.port in {address.port for _, address in listeners}
    outside = [(name, address) for name, address in listeners if not is_loopback(address.ip)]
    assert outside == []


def is_loopback(ip: str) -> bool:
    """Whether only this machine reaches `ip`; a dual-stack socket says ::ffff:127.0.0.1."""
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def test_prompts_are_in_no_log_of_ray(client: httpx.Client) -> None:
    client.post("/v1/completions", json={"prompt": SECRET, "max_tokens": 1})
    client.post("/v1/completions", json={"prompt": [SECRET, 1]})
    node: Any = ray._private.worker.global_worker.node
    logs = Path(node.get_logs_dir_path())
    files = [path for path in logs.rglob("*") if path.is_file()]
    assert any("serve" in path.name or "serve" in path.parent.name for path in files)
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_busy_port_is_one_clear_line(client: httpx.Client, settings: ServeSettings) -> None:
    with pytest.raises(ResourceError, match=rf"{settings.host}:{settings.port}.*process \d+ .*--port") as caught:
        start(settings)
    assert "\n" not in str(caught.value)
    assert client.get("/health").status_code == 200


def test_a_broken_checkpoint_is_refused_before_anything_starts(client: httpx.Client, settings: ServeSettings, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codenas train"):
        start(settings.model_copy(update={"checkpoint": tmp_path, "port": free_port()}))
    with pytest.raises(ResourceError, match="device 'tpu'"):
        start(settings.model_copy(update={"device": "tpu", "port": free_port()}))
    assert client.get("/v1/models").json()["data"][0]["max_model_len"] == 4096 != CONTEXT


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cuda", 1), ("cuda:0", 1), ("cuda:1", 1)])
def test_an_endpoint_on_a_gpu_reserves_it(device: str, gpus: int, tmp_path: Path) -> None:
    """Whatever its number here, it is the only one that the replica sees."""
    bound = build(ServeSettings(checkpoint=tmp_path, device=device))._bound_deployment
    assert (bound.ray_actor_options or {})["num_gpus"] == gpus
    assert bound.init_args[0].device == ("cuda" if gpus else "cpu")


@pytest.mark.parametrize(("device", "gpus", "message"), [("cuda", 0, "this Ray has no GPU"), ("cuda:1", 2, "is one of 2 GPUs of this Ray")])
def test_a_gpu_that_ray_would_not_reserve_is_refused(device: str, gpus: float, message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        _require_reservation(device, gpus)
    _require_reservation("cpu", gpus)
    _require_reservation("cuda", 2)
    _require_reservation("cuda:1", 1)
