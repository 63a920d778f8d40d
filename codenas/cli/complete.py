"""`codenas complete`: request a completion from an endpoint and print it."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 120


@dataclass(slots=True, frozen=True)
class Reply:
    """One completion; `seconds` from sending the request to the last byte of the response."""

    text: str
    tokens: int
    seconds: float


def complete(
    prompt: Annotated[str | None, typer.Argument(help="The code to continue. [default: standard input]")] = None,
    url: Annotated[str, typer.Option(help="URL of the endpoint that `codenas serve` started.")] = DEFAULT_URL,
    suffix: Annotated[
        str | None, typer.Option(help="The code after the gap, which the completion fills. Needs a model trained to fill in the middle.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Maximum number of generated tokens.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding, 1 samples from the model's distribution.")] = 0.2,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same completion.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A stop string; can be given several times.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with the API key of the endpoint.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the completion as it is generated.")] = True,
) -> None:
    """Complete code with a running endpoint."""
    body = {"prompt": _text(prompt), "max_tokens": max_tokens, "temperature": temperature, "seed": seed, "stop": stop}
    if suffix is not None:
        body["suffix"] = _utf8(os.fsencode(suffix), "suffix")
    key = read_key(api_key_file)
    if stream:
        for piece in _stream(url, body, key):
            typer.echo(piece, nl=False)
        typer.echo()
    else:
        typer.echo(ask(url, body, key).text)


def _text(prompt: str | None) -> str:
    """The prompt, or standard input without one; neither need be UTF-8."""
    from codenas.errors import ConfigError

    if prompt is None and sys.stdin is None:
        raise ConfigError("there is no prompt, and standard input is closed; give the code to continue as an argument")
    return _utf8(sys.stdin.buffer.read() if prompt is None else os.fsencode(prompt), "prompt")


def _utf8(data: bytes, name: str) -> str:
    from codenas.errors import ConfigError
    from codenas.files import without_bom

    data = without_bom(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"the {name} is not UTF-8 (byte {data[error.start]:#04x} at {error.start:,}); give it source code") from None


def ask(url: str, body: dict[str, Any], api_key: str | None = None) -> Reply:
    """Send `body`, a request of the completions protocol, and return the completion.

    Raises:
        ResourceError: no endpoint answers at `url`, or it is overloaded or failed.
        ConfigError: the endpoint refuses the request; with its message.
    """
    started = time.monotonic()
    with _response(url, body, api_key) as response:
        answer = json.loads(response.read())
        return Reply(answer["choices"][0]["text"], answer["usage"]["completion_tokens"], time.monotonic() - started)


def read_key(path: Path | None) -> str | None:
    """The key in the file `path`.

    Raises:
        ConfigError: it cannot be read, or contains no key.
    """
    from codenas.errors import ConfigError
    from codenas.files import read_user_text

    if path is None:
        return None
    try:
        key = read_user_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {path} cannot be read ({type(error).__name__}); name a file with one line") from error
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"the key file {path} holds no usable key; it needs one line of printable ASCII")
    return key


def _stream(url: str, body: dict[str, Any], api_key: str | None) -> Iterator[str]:
    """The parts of the completion as they are generated; raises as `ask`."""
    from codenas.errors import ResourceError

    with _response(url, {**body, "stream": True}, api_key) as response:
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data and data != "[DONE]":
                event = json.loads(data)
                if "error" in event:
                    raise ResourceError(f"{url} failed during the completion: {event['error']['message']}")
                yield from (choice["text"] for choice in event["choices"])


@contextlib.contextmanager
def _response(url: str, body: dict[str, Any], api_key: str | None) -> "Iterator[httpx.Response]":
    """The response to `body` if its status is 200; anything else is an error in one line."""
    import httpx

    from codenas.errors import ConfigError, ResourceError
    from codenas.http_client import http_client

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        with (
            http_client(url, headers=headers, timeout=TIMEOUT_S) as client,
            client.stream("POST", f"{_root(url)}/v1/completions", json=body) as response,
        ):
            if response.status_code != 200:
                kind = ResourceError if response.status_code >= 500 or response.status_code == 429 else ConfigError
                raise kind(f"{url} answers {response.status_code}: {_complaint(response)}")
            yield response
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ConfigError(f"{url!r} is no URL of an endpoint; an example is {DEFAULT_URL}") from error
    except httpx.TransportError as error:
        raise ResourceError(f"nothing answers at {url} ({type(error).__name__}); start it with `codenas serve`") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ResourceError(f"what answers at {url} does not speak the completions protocol; is it another program?") from error


def _root(url: str) -> str:
    """`url` without the /v1 that editors need and `codenas serve` prints."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _complaint(response: "httpx.Response") -> str:
    response.read()
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return "without a reason"
