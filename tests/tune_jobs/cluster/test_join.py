"""Joining a cluster: bad addresses are reported at once, and a head that is late is asked again."""

import os
from collections.abc import Callable

import pytest

from codenas.errors import ResourceError, UserError
from tests.loopback import free_port
from tune_jobs.cluster import ray_process
from tune_jobs.cluster.join import join, joined


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:PORT", r"^nothing listens at 127\.0\.0\.1:PORT \(Connection refused\); check --address"),
        ("ray://127.0.0.1:PORT", r"^nothing listens at ray://127\.0\.0\.1:PORT \(Connection refused\)"),
        ("head", "^'head' is no address of a Ray cluster; 127.0.0.1:6379 is one, auto is the cluster of this machine"),
        ("head:port", "^'head:port' is no address"),
        ("local", "^'local' is no address"),
    ],
)
def test_an_address_where_nothing_listens_is_reported_before_ray_retries_for_minutes(address: str, message: str) -> None:
    port, before = str(free_port()), dict(os.environ)
    with pytest.raises(UserError, match=message.replace("PORT", port)), joined(address.replace("PORT", port)):
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
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Answers]:
    """Join a cluster whose answers are these; returns those that it was not asked for."""

    def answer_with(*answers: Exception | None) -> _Answers:
        init = _Answers(*answers)
        monkeypatch.setattr(ray_process, "init", init)
        join("ray://127.0.0.2:10001")
        return init

    return answer_with


def test_a_connection_that_the_head_refuses_at_first_is_retried(answering: Callable[..., _Answers]) -> None:
    assert answering(_LATE, _LATE, None).left == []


def test_who_is_connected_asks_no_more(answering: Callable[..., _Answers]) -> None:
    assert answering(_LATE, None, _LATE).left == [_LATE]


def test_a_head_without_a_server_for_clients_is_reported_with_its_reason(answering: Callable[..., _Answers]) -> None:
    with pytest.raises(ResourceError, match=r"^no Ray cluster answers at ray://127\.0\.0\.2:10001 \(RuntimeError: too late\), or"):
        answering(_LATE, _LATE, _LATE)


def test_any_other_refusal_is_final_and_told_by_its_first_line(answering: Callable[..., _Answers]) -> None:
    with pytest.raises(ResourceError, match=r"\(no such cluster\), or"):
        answering(ConnectionError("no such cluster\nfor these reasons"), None)
    with pytest.raises(ResourceError, match=r"\(RuntimeError\), or"):
        answering(RuntimeError())
