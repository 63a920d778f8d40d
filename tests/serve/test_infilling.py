"""Filling in the middle: what stands between prompt and suffix, from models that were taught it, and from no other."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from codenas.decode import Engine, SamplingParams, TorchBackend, complete
from serve.app import load
from serve.settings import ServeSettings
from tests.serve.servers import CONTEXT, VOCABULARY, infilling_app, running, tiny_app, tiny_model, write_tiny_checkpoint
from tests.serve.test_commands import run
from tests.serve.test_completions import post, stream

PROMPT, SUFFIX = "def add(a, b):\n", "\n    return c\n"
SENTINELS = 3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(infilling_app()) as url:
        yield url


@pytest.fixture(scope="module")
def taught(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def filled(prompt: str = PROMPT, suffix: str = SUFFIX, max_tokens: int = 9) -> str:
    """What the slow, clear reference makes of it."""
    return complete(Engine(TorchBackend(tiny_model())), VOCABULARY, prompt, SamplingParams(temperature=0, max_tokens=max_tokens), suffix)[0]


def test_an_infill_completion_is_the_text_between_prefix_and_suffix(taught: httpx.Client) -> None:
    answer = post(taught, prompt=PROMPT, suffix=SUFFIX, max_tokens=9)
    read = len(PROMPT) + len(SUFFIX) + SENTINELS
    assert answer["choices"][0]["text"] == filled() != post(taught, prompt=PROMPT, max_tokens=9)["choices"][0]["text"]
    assert answer["usage"] == {"prompt_tokens": read, "completion_tokens": 9, "total_tokens": read + 9}
    events = stream(taught, prompt=PROMPT, suffix=SUFFIX, max_tokens=9)
    assert "".join(choice["text"] for event in events for choice in event["choices"]) == filled()


def test_a_model_that_was_taught_so_is_asked_with_the_suffix_first() -> None:
    params = SamplingParams(temperature=0, max_tokens=9)
    right, _ = complete(Engine(TorchBackend(tiny_model())), VOCABULARY, PROMPT, params, SUFFIX, suffix_first=True)
    app = infilling_app(suffix_first=True)
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert post(client, prompt=PROMPT, suffix=SUFFIX, max_tokens=9)["choices"][0]["text"] == right != filled()


@pytest.mark.parametrize("suffix", ["<fim_middle><|endoftext|>x", "数😀", "\x00", " "])
def test_any_suffix_is_text(taught: httpx.Client, suffix: str) -> None:
    answer = post(taught, prompt="x", suffix=suffix, max_tokens=4)
    assert answer["choices"][0]["text"] == filled("x", suffix, 4)
    assert answer["usage"]["prompt_tokens"] == 1 + len(VOCABULARY.encode(suffix)) + SENTINELS


def test_an_empty_suffix_is_none(taught: httpx.Client) -> None:
    assert post(taught, suffix="", max_tokens=5)["choices"] == post(taught, max_tokens=5)["choices"]


def test_every_prompt_has_the_suffix_behind_it(taught: httpx.Client) -> None:
    choices = post(taught, prompt=["a", "b"], suffix=SUFFIX, n=2, max_tokens=6)["choices"]
    assert [choice["text"] for choice in choices] == [filled(prompt, max_tokens=6) for prompt in "aabb"]
    assert post(taught, prompt=VOCABULARY.encode(PROMPT), suffix=SUFFIX, max_tokens=9)["choices"][0]["text"] == filled()


def test_what_is_too_long_is_cut_far_from_the_gap(taught: httpx.Client) -> None:
    long = "".join(chr(ord("a") + index % 26) for index in range(5000))
    room = CONTEXT - CONTEXT // 4 - SENTINELS
    answer = post(taught, prompt=long, suffix=long)
    kept = answer["usage"]["prompt_tokens"] - SENTINELS - room // 4
    assert (room - room // 4) * 7 // 8 < kept <= room - room // 4
    assert answer["choices"][0]["text"] == filled(long[-kept:], long[: room // 4], answer["usage"]["completion_tokens"])
    assert answer["usage"]["total_tokens"] == CONTEXT


def test_echo_is_the_prompt_and_its_middle(taught: httpx.Client) -> None:
    assert post(taught, prompt=PROMPT, suffix=SUFFIX, max_tokens=9, echo=True)["choices"][0]["text"] == PROMPT + filled()
    logprobs = post(taught, prompt=PROMPT, suffix=SUFFIX, max_tokens=9, logprobs=0)["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == 9 and logprobs["text_offset"][0] == len(PROMPT)


def test_what_surrounds_a_gap_is_not_scored(taught: httpx.Client) -> None:
    body = {"prompt": PROMPT, "suffix": SUFFIX, "echo": True, "logprobs": 1}
    error = taught.post("/v1/completions", json=body)
    assert (error.status_code, error.json()["error"]["param"]) == (400, "suffix")
    assert error.json()["error"]["message"].endswith("leave out suffix, echo or logprobs")


def test_a_context_without_room_for_a_gap_is_refused() -> None:
    with running(infilling_app(tiny_model(context_len=3))) as url, httpx.Client(base_url=url) as client:
        error = client.post("/v1/completions", json={"prompt": "a", "suffix": "b"})
    assert error.status_code == 400
    assert (
        error.json()["error"]["message"] == "suffix: a context of 3 tokens has no room for the 3 tokens that mark a gap; leave suffix out"
    )


def test_a_model_not_trained_to_infill_is_refused(client: httpx.Client) -> None:
    error = client.post("/v1/completions", json={"prompt": PROMPT, "suffix": SUFFIX})
    assert error.status_code == 400
    assert error.json()["error"]["message"] == "suffix: this model was not trained to fill in the middle; leave suffix out"


@pytest.mark.parametrize(
    ("training", "taught"),
    [({}, False), ({"fim_rate": 0.0}, False), ({"fim_rate": 0.5}, True), ({"fim_rate": 0.5, "fim_spm_share": 0.5}, True)],
)
def test_the_checkpoint_says_what_its_model_was_taught(training: dict[str, float], taught: bool, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path, training=training)
    served = load(ServeSettings(checkpoint=checkpoint.path))
    assert (served.infills, served.suffix_first) == (taught, bool(training.get("fim_spm_share")))


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_complete_fills_a_gap(url: str, how: str) -> None:
    options = ("complete", "--url", url, "--max-tokens", "9", "--temperature", "0", how)
    assert run(*options, "--suffix", SUFFIX, PROMPT) == (0, filled() + "\n", "")
    assert run(*options, "--suffix", "", PROMPT) == run(*options, PROMPT)


def test_complete_repeats_that_the_model_was_not_taught() -> None:
    with running(tiny_app()) as untaught:
        code, _, error = run("complete", "--url", untaught, "--suffix", "x", "a")
    assert code == 2 and error.endswith("this model was not trained to fill in the middle; leave suffix out\n")


def test_a_suffix_that_is_no_text_is_refused() -> None:
    code, _, error = run("complete", "--suffix", "\udcff", "a")
    assert (code, error) == (2, "codenas: the suffix is not UTF-8 (byte 0xff at 0); give it source code\n")
