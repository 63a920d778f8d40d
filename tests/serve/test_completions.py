"""What the endpoint answers when it is asked properly: the shape, the stream, the fields."""

import json
from typing import Any

import httpx
import pytest
import torch

from codenas.decode import Engine, SamplingParams, TorchBackend, complete, fit_to_context, generate
from codenas.seeds import derive
from tests.serve.servers import CONTEXT, MODEL_NAME, VOCABULARY, tiny_model

PROMPT = "def add(a, b):\n"


def post(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """The answer to a request at temperature 0, unless `body` says otherwise."""
    response = client.post("/v1/completions", json={"prompt": PROMPT, "temperature": 0, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def stream(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    """The objects of a stream; it must end with [DONE]."""
    request = {"prompt": PROMPT, "temperature": 0, "stream": True, **body}
    with client.stream("POST", "/v1/completions", json=request) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def expected(prompt: str = PROMPT, **params: Any) -> tuple[str, str]:
    """What the slow, clear reference makes of it."""
    return complete(Engine(TorchBackend(tiny_model())), VOCABULARY, prompt, SamplingParams.model_validate({"temperature": 0, **params}))


def test_an_answer_has_the_shape_that_clients_read(client: httpx.Client) -> None:
    answer = post(client, max_tokens=12)
    text, reason = expected(max_tokens=12)
    assert answer["id"].startswith("cmpl-") and answer["created"] > 1_700_000_000
    assert {key: answer[key] for key in ("object", "model", "choices", "usage")} == {
        "object": "text_completion",
        "model": MODEL_NAME,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}],
        "usage": {"prompt_tokens": len(PROMPT), "completion_tokens": 12, "total_tokens": len(PROMPT) + 12},
    }


def test_a_stream_says_the_same(client: httpx.Client) -> None:
    events = stream(client, max_tokens=12)
    whole = post(client, max_tokens=12)["choices"][0]
    assert "".join(choice["text"] for event in events for choice in event["choices"]) == whole["text"]
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert len({(event["id"], event["object"], event["model"]) for event in events}) == 1
    assert not any("usage" in event for event in events)


def test_usage_comes_last_when_a_stream_is_asked_for_it(client: httpx.Client) -> None:
    *events, last = stream(client, max_tokens=5, stream_options={"include_usage": True})
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": len(PROMPT), "completion_tokens": 5, "total_tokens": len(PROMPT) + 5}


def test_the_default_is_64_tokens_and_the_context_ends_it(client: httpx.Client) -> None:
    assert post(client)["usage"]["completion_tokens"] == CONTEXT - len(PROMPT)
    assert post(client, max_tokens=4096)["usage"]["completion_tokens"] == CONTEXT - len(PROMPT)


@pytest.mark.parametrize("length", [CONTEXT, 5000, CONTEXT - 1])
def test_a_prompt_that_is_too_long_loses_its_beginning(client: httpx.Client, length: int) -> None:
    prompt = "".join(chr(ord("a") + index % 26) for index in range(length))
    answer, room = post(client, prompt=prompt), CONTEXT - CONTEXT // 4
    kept = answer["usage"]["prompt_tokens"]
    assert room * 7 // 8 < kept <= room
    assert answer["usage"] == {"prompt_tokens": kept, "completion_tokens": CONTEXT - kept, "total_tokens": CONTEXT}
    assert answer["choices"][0]["text"] == expected(prompt[-kept:], max_tokens=CONTEXT - kept)[0]


def test_an_empty_prompt_is_served(client: httpx.Client) -> None:
    assert post(client, prompt="", max_tokens=5)["choices"][0]["text"] == expected("", max_tokens=5)[0]


def test_no_tokens_is_no_text(client: httpx.Client) -> None:
    answer = post(client, max_tokens=0)
    assert answer["choices"][0] == {"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}


def test_prompts_and_choices_are_numbered(client: httpx.Client) -> None:
    answer = post(client, prompt=["a", "b"], n=2, max_tokens=6)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in answer["choices"]] == [expected(prompt, max_tokens=6)[0] for prompt in "aabb"]
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 24, "total_tokens": 26}
    texts = [""] * 4
    for event in stream(client, prompt=["a", "b"], n=2, max_tokens=6):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in answer["choices"]]


def test_prompts_can_be_token_ids(client: httpx.Client) -> None:
    ids = VOCABULARY.encode(PROMPT)
    texts = [post(client, prompt=prompt, max_tokens=6)["choices"][0]["text"] for prompt in (PROMPT, ids, [ids])]
    assert len(set(texts)) == 1


def test_a_seed_gives_the_same_text_alone_and_in_company(client: httpx.Client) -> None:
    body = {"temperature": 1.0, "seed": 7, "max_tokens": 20}
    alone = post(client, **body)["choices"][0]["text"]
    choices = [choice["text"] for choice in post(client, **body, prompt=["x", PROMPT], n=3)["choices"]]
    assert choices[3] == alone == expected(temperature=1.0, seed=7, max_tokens=20)[0]
    assert choices[4] == expected(temperature=1.0, seed=derive(7, "choice", 1), max_tokens=20)[0]
    assert len(set(choices)) == 6


def test_echo_repeats_the_prompt_once(client: httpx.Client) -> None:
    text = post(client, max_tokens=5)["choices"][0]["text"]
    assert post(client, max_tokens=5, echo=True)["choices"][0]["text"] == PROMPT + text
    events = stream(client, max_tokens=5, echo=True)
    assert "".join(choice["text"] for event in events for choice in event["choices"]) == PROMPT + text
    assert post(client, prompt=VOCABULARY.encode("é"), max_tokens=0, echo=True)["choices"][0]["text"] == "é"


def test_logprobs_are_those_of_the_model(client: httpx.Client) -> None:
    choice = post(client, max_tokens=3, echo=True, logprobs=2)["choices"][0]
    asked = fit_to_context(VOCABULARY.encode(PROMPT), SamplingParams(max_tokens=3, temperature=0), VOCABULARY, CONTEXT)
    model = tiny_model()
    tokens = [*asked.prompt, *generate(Engine(TorchBackend(model)), asked)]
    with torch.no_grad():
        right = torch.log_softmax(model(torch.tensor([tokens]))[0], -1)
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:] == pytest.approx([float(right[i, token]) for i, token in enumerate(tokens[1:])], abs=1e-4)
    assert "".join(logprobs["tokens"][: len(PROMPT)]) == PROMPT
    assert logprobs["text_offset"] == list(range(len(tokens)))
    assert all(len(best) <= 3 and token in best for token, best in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True) if best)


def test_logprobs_without_echo_begin_behind_the_prompt(client: httpx.Client) -> None:
    logprobs = post(client, max_tokens=3, logprobs=0)["choices"][0]["logprobs"]
    assert logprobs["text_offset"] == [len(PROMPT) + index for index in range(3)]
    assert [list(best) for best in logprobs["top_logprobs"]] == [[token] for token in logprobs["tokens"]]
    streamed = [choice["logprobs"] for event in stream(client, max_tokens=3, logprobs=0) for choice in event["choices"]]
    assert [token for part in streamed if part for token in part["tokens"]] == logprobs["tokens"]


def test_scoring_needs_no_answer(client: httpx.Client) -> None:
    choice = post(client, prompt="abc", max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == "abc" and choice["logprobs"]["tokens"] == ["a", "b", "c"]


def test_stop_strings_end_the_answer_and_are_not_in_it(client: httpx.Client) -> None:
    text = post(client, max_tokens=20)["choices"][0]["text"]
    for stop in (text[4], text[4:7], [text[9:11], text[6]], [""] * 3 + [text[5:8]]):
        answer = post(client, max_tokens=20, stop=stop)
        wanted, _ = expected(max_tokens=20, stop=(stop,) if isinstance(stop, str) else tuple(stop))
        assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (wanted, "stop")
        assert answer["usage"]["completion_tokens"] < 20
        events = stream(client, max_tokens=20, stop=stop)
        assert "".join(choice["text"] for event in events for choice in event["choices"]) == wanted


def test_a_bias_forces_a_token(client: httpx.Client) -> None:
    token = VOCABULARY.encode("😀")[0]
    answer = post(client, max_tokens=3, logit_bias={str(token): 100})
    assert answer["choices"][0]["text"] == "😀😀😀"


def test_an_end_token_is_stop(client: httpx.Client) -> None:
    answer = post(client, max_tokens=3, logit_bias={str(VOCABULARY.specials["<|endoftext|>"]): 100})
    assert answer["choices"][0] == {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}


def test_special_tokens_in_a_prompt_are_text(client: httpx.Client) -> None:
    prompt = "<|endoftext|><fim_prefix>"
    answer = post(client, prompt=prompt, max_tokens=4)
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["choices"][0]["text"] == expected(prompt, max_tokens=4)[0]


@pytest.mark.parametrize("prompt", ["\x00", "\ufeffx", "a\r\nb", "😀", "e\u0301", "\u202e", "\U0010ffff"])
def test_awkward_text_is_served_and_echoed(client: httpx.Client, prompt: str) -> None:
    assert post(client, prompt=prompt, max_tokens=2, echo=True)["choices"][0]["text"].startswith(prompt)


def test_half_a_character_is_replaced(client: httpx.Client) -> None:
    body = rb'{"prompt": "\ude00x", "max_tokens": 2, "temperature": 0, "echo": true, "stop": "\ud83d"}'
    response = client.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert response.json()["choices"][0]["text"].startswith("\ufffdx")


def test_the_habits_of_editors_are_served(client: httpx.Client) -> None:
    habits = {
        "model": MODEL_NAME,
        "suffix": None,
        "best_of": None,
        "logit_bias": None,
        "user": "me",
        "options": {"num_ctx": 8},
        "keep_alive": "5m",
        "language": "python",
        "segments": {"prefix": "x"},
        "stop": [f"<stop{index}>" for index in range(16)],
        "max_tokens": 4096,
        "temperature": 0.01,
        "top_k": -1,
        "presence_penalty": 0,
    }
    assert post(client, **habits)["choices"][0]["text"]
    assert post(client, suffix="", best_of=1)["choices"][0]["text"]


def test_models_and_health(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()
    assert models["object"] == "list"
    assert [(card["id"], card["object"], card["max_model_len"]) for card in models["data"]] == [(MODEL_NAME, "model", CONTEXT)]
    assert client.get(f"/v1/models/{MODEL_NAME}").json() == models["data"][0]
    unknown = client.get("/v1/models/another/model")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    for path in ("/health", "/ready"):
        response = client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok", "active": 0, "waiting": 0})
    assert "/v1/completions" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", f"/v1/models/{MODEL_NAME}", "/docs"])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers[name] for name in ("content-type", "content-length")] == [
        whole.headers[name] for name in ("content-type", "content-length")
    ]
