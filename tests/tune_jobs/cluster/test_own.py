"""A cluster of one's own does not depend on the folder that it is started in, and is not started where it would hang."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codenas.errors import ResourceError, UserError
from tests.loopback import free_port
from tune_jobs.cluster import own as cluster

ROOT = Path(__file__).parents[3]

_DRIVER = """
import os, ray
from tune_jobs.cluster.own import local_ray
with local_ray(cpus=1):
    assert ray.get(ray.remote(lambda: __import__("wave").WAVE_FORMAT_PCM).remote(), timeout=60) == 1
    print(os.getcwd())
"""


@pytest.mark.cluster
def test_workers_do_not_import_modules_of_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "wave.py").write_text("raise SystemExit('the module of the user was imported')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", _DRIVER]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}\n"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """In place of a Ray: the CPUs that each start was asked for."""
    asked: list[int | None] = []
    monkeypatch.setattr(cluster, "_start", lambda cpus, _folder: asked.append(cpus))
    monkeypatch.setattr(cluster, "_stop", lambda: None)
    return asked


def test_a_tight_address_space_is_refused_before_ray_hangs_in_it(starts: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_500_000 * 1024, resource.RLIM_INFINITY))
    message = r"^a process may have 1\.5 GB of addresses here and Ray's reserve up to 3\.0 GB; .*ulimit -v unlimited.*--no-ray"
    with pytest.raises(ResourceError, match=message), cluster.local_ray():
        pytest.fail("started")
    assert starts == []


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, cluster.LEAST_ADDRESS_BYTES])
def test_an_address_space_of_enough_is_not_refused(limit: int, starts: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    with cluster.local_ray(cpus=1):
        assert starts == [1]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:PORT", r"^nobody listens at 127\.0\.0\.1:PORT \(Connection refused\); check --address"),
        ("ray://127.0.0.1:PORT", r"^nobody listens at ray://127\.0\.0\.1:PORT \(Connection refused\)"),
        ("head", "^'head' is no address of a Ray cluster; 127.0.0.1:6379 is one, auto is the cluster of this machine"),
        ("head:port", "^'head:port' is no address"),
        ("local", "^'local' is no address"),
    ],
)
def test_an_address_where_nobody_listens_is_told_before_ray_tries_for_minutes(address: str, message: str) -> None:
    port, before = str(free_port()), dict(os.environ)
    with pytest.raises(UserError, match=message.replace("PORT", port)), cluster.local_ray(address=address.replace("PORT", port)):
        pytest.fail("joined")
    assert dict(os.environ) == before, "a Ray that starts here later would want a token that nobody has"


class _Answers:
    """In place of Ray's start: what each call comes to, None being a connection."""

    def __init__(self, *answers: Exception | None) -> None:
        self.left = list(answers)

    def __call__(self, **_options: object) -> None:
        answer = self.left.pop(0)
        if answer is not None:
            raise answer


_LATE = ConnectionAbortedError("Initialization failure from server:\nTraceback (most recent call last):\n  ...\nRuntimeError: too late\n")


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Answers]:
    """Join a cluster whose answers are these; returns those that it was not asked for."""

    def join(*answers: Exception | None) -> _Answers:
        init = _Answers(*answers)
        monkeypatch.setattr(cluster, "_init", init)
        cluster._join("ray://127.0.0.2:10001")
        return init

    return join


def test_a_head_that_has_no_server_for_a_client_in_time_is_asked_again(joined: Callable[..., _Answers]) -> None:
    assert joined(_LATE, _LATE, None).left == []


def test_who_is_connected_asks_no_more(joined: Callable[..., _Answers]) -> None:
    assert joined(_LATE, None, _LATE).left == [_LATE]


def test_a_head_without_a_server_for_clients_is_told_with_its_reason(joined: Callable[..., _Answers]) -> None:
    with pytest.raises(ResourceError, match=r"^no Ray cluster answers at ray://127\.0\.0\.2:10001 \(RuntimeError: too late\), or"):
        joined(_LATE, _LATE, _LATE)


def test_any_other_refusal_is_final_and_told_by_its_first_line(joined: Callable[..., _Answers]) -> None:
    with pytest.raises(ResourceError, match=r"\(no such cluster\), or"):
        joined(ConnectionError("no such cluster\nfor these reasons"), None)
    with pytest.raises(ResourceError, match=r"\(RuntimeError\), or"):
        joined(RuntimeError())
