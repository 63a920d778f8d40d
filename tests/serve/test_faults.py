"""Requests that make no sense get a clear answer, and the endpoint is as healthy as before."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from serve.guard import Guard
from tests.serve.models import poisoned_model
from tests.serve.servers import CONTEXT, VOCABULARY, running, tiny_app, tiny_settings, until

JSON = {"Content-Type": "application/json"}
SECRET = "hunter2"

BAD_BODIES: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "no JSON": (b'{"prompt": "hunter2"', None),
    "no UTF-8": (b'{"prompt": "\xff"}', None),
    "a list": (b"[]", None),
    "a string": (b'"hunter2"', None),
    "a number": (b"1", None),
    "null": (b"null", None),
    "deep list": (b"[" * 100_000, None),
    "deep object": (b'{"prompt": ' * 100_000, None),
    "deep and closed": (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "endless number": (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", None),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', "temperature"),
    "Infinity": (b'{"prompt": "a", "top_p": Infinity}', "top_p"),
    "1e309": (b'{"prompt": "a", "presence_penalty": 1e309}', "presence_penalty"),
    "NaN as prompt": (b'{"prompt": NaN}', "prompt"),
}

BAD_FIELDS: list[tuple[str, Any]] = [
    ("prompt", None),
    ("prompt", 1),
    ("prompt", True),
    ("prompt", {"hunter2": 1}),
    ("prompt", []),
    ("prompt", [True]),
    ("prompt", [1.5]),
    ("prompt", ["a", 1]),
    ("prompt", [[1], "a"]),
    ("prompt", [[1], [None]]),
    ("prompt", [[[1]]]),
    ("prompt", [-1]),
    ("prompt", [2**63]),
    ("prompt", [VOCABULARY.size]),
    ("prompt", [[1, 10**30]]),
    ("prompt", ["a"] * 10_000),
    ("model", 1),
    ("max_tokens", -1),
    ("max_tokens", 2**63),
    ("max_tokens", 1.5),
    ("max_tokens", "64"),
    ("max_tokens", True),
    ("max_tokens", [64]),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "warm"),
    ("top_p", 0),
    ("top_p", 1.01),
    ("top_k", -2),
    ("n", 0),
    ("n", 10**6),
    ("best_of", 10**6),
    ("best_of", 0),
    ("logprobs", 10**6),
    ("logprobs", -1),
    ("logprobs", True),
    ("echo", "yes"),
    ("stream", 1),
    ("stop", 1),
    ("stop", [1]),
    ("stop", ["a"] * 1000),
    ("stop", "a" * 1000),
    ("presence_penalty", 3),
    ("frequency_penalty", -3),
    ("logit_bias", [1]),
    ("logit_bias", {"hunter2": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {str(VOCABULARY.size): 1}),
    ("logit_bias", {"9" * 30: 1}),
    ("logit_bias", {"1": 1000}),
    ("logit_bias", {"1": "hunter2"}),
    ("logit_bias", {str(key): 1 for key in range(100_000)}),
    ("seed", 2**63),
    ("seed", -(2**63) - 1),
    ("seed", "hunter2"),
    ("suffix", "hunter2"),
    ("suffix", 1),
    ("stream_options", "hunter2"),
]


def assert_refused(client: httpx.Client, response: httpx.Response, status: int, param: str | None = None) -> dict[str, Any]:
    """`response` is an error of the right shape that repeats nothing, and the endpoint goes on; returns the error."""
    assert response.status_code == status, response.text
    assert SECRET not in response.text and len(response.text) < 500
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["param"] == param
    until(lambda: client.get("/ready").json() == {"status": "ok", "active": 0, "waiting": 0})
    return error


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/completions", content=json.dumps({"prompt": "a", "max_tokens": 2, **body}), headers=JSON)


@pytest.mark.parametrize("fault", BAD_BODIES)
def test_bodies_that_are_no_request(client: httpx.Client, fault: str) -> None:
    body, param = BAD_BODIES[fault]
    assert_refused(client, client.post("/v1/completions", content=body, headers=JSON), 400, param)


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda value: str(value)[:30])
def test_fields_that_make_no_sense(client: httpx.Client, field: str, value: Any) -> None:
    error = assert_refused(client, post(client, **{field: value}), 400, field)
    assert field in error["message"]


def test_fields_that_do_not_agree(client: httpx.Client) -> None:
    assert "stream" in assert_refused(client, post(client, stream_options={"include_usage": True}), 400)["message"]
    assert "best_of" in assert_refused(client, post(client, n=2, best_of=3), 400)["message"]
    assert "64" in assert_refused(client, post(client, prompt=["a"] * 60, n=2), 400)["message"]


def test_a_prompt_too_long_to_be_scored(client: httpx.Client) -> None:
    error = assert_refused(client, post(client, prompt="a" * 70, max_tokens=0, echo=True, logprobs=1), 400, "prompt")
    assert str(CONTEXT) in error["message"]


def test_a_form_is_no_request(client: httpx.Client) -> None:
    form = assert_refused(client, client.post("/v1/completions", data={"prompt": SECRET}), 400)
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": ""}, {}):
        plain = client.post("/v1/completions", content=b'{"prompt": "a"}', headers=headers)
        assert "'Content-Type: application/json'" in form["message"] == assert_refused(client, plain, 400)["message"]


@pytest.mark.parametrize("length", ["²", "٣", "-1", "1e3", "", "9" * 5_000])
def test_a_length_that_is_no_number(length: str) -> None:
    """Given to the guard itself: some servers pass on what this one refuses."""
    sent: list[Any] = []

    async def ask() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1", "replace"))]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
        await Guard(tiny_app(), tiny_settings())(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert sent[0]["status"] == 413 and json.loads(sent[1]["body"])["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("model", ["gpt-4", "../../etc/passwd", "http://127.0.0.1:1/x", "", SECRET, "x" * 10_000])
def test_an_unknown_model(client: httpx.Client, model: str) -> None:
    assert assert_refused(client, post(client, model=model), 404, "model")["code"] == "model_not_found"


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    assert_refused(client, client.get("/v1/hunter2"), 404)
    assert_refused(client, client.get("/v1/completions"), 405)
    assert_refused(client, client.delete("/v1/models"), 405)
    for path, status in (("/v1/hunter2", 404), ("/v1/completions", 405)):
        head = client.head(path)
        assert (head.status_code, head.content) == (status, b"")


def test_one_sequence_that_fails_does_not_fail_the_others() -> None:
    poison, bomb = VOCABULARY.encode("?!")
    with running(tiny_app(poisoned_model(poison, bomb))) as url, httpx.Client(base_url=url) as client:
        assert_refused(client, post(client, prompt="a?"), 500)
        assert_refused(client, post(client, prompt="a!"), 500)
        assert_refused(client, post(client, prompt=["a", "a?", "b"], max_tokens=9), 500)
        assert post(client, prompt="a").status_code == 200
        streamed = post(client, prompt="a?", stream=True)
        assert streamed.status_code == 200  # the status was sent before anybody could know
        first, done = [line for line in streamed.text.split("\n\n") if line]
        assert json.loads(first.removeprefix("data: "))["error"]["type"] == "server_error"
        assert done == "data: [DONE]"


def test_prompts_are_in_no_log(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for body in ({"prompt": SECRET}, {"prompt": SECRET, "stream": True}, {"prompt": [SECRET, 1]}, {"prompt": "a", "suffix": SECRET}):
            post(client, **body)
    assert SECRET not in caplog.text
