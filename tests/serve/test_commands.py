"""`codenas serve` and `codenas complete`, as a user runs them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from codenas.arch import ArchSpec
from codenas.cli.app import app as command_line
from codenas.cli.complete import ask
from codenas.cli.serve import context_warning
from codenas.decode import Engine, SamplingParams, TorchBackend, complete
from codenas.errors import ConfigError, ResourceError
from codenas.measure.served import context_on
from codenas.metrics import LatencyContext, Metrics
from serve.port import require_free_port
from tests.loopback import free_port, http_server
from tests.serve.models import poisoned_model
from tests.serve.servers import MODEL_NAME, VOCABULARY, running, tiny_app, tiny_model, tiny_settings, write_tiny_checkpoint

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


def run(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Exit code, output and error output of a command in this process."""
    result = CliRunner().invoke(command_line, list(arguments), input=text)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(tiny_app()) as url:
        yield url


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_complete_prints_the_answer(url: str, how: str) -> None:
    wanted = complete(Engine(TorchBackend(tiny_model())), VOCABULARY, "def ", SamplingParams(max_tokens=9, temperature=0))[0] + "\n"
    options = ("complete", "--url", url, "--max-tokens", "9", "--temperature", "0", how)
    assert run(*options, "def ") == (0, wanted, "")
    assert run(*options, text="def ") == (0, wanted, "")


@pytest.mark.parametrize("behind", ["", "/", "/v1", "/v1/"])
def test_ask_gives_text_tokens_and_time(url: str, behind: str) -> None:
    """With or without the /v1 that editors want."""
    reply = ask(url + behind, {"prompt": "def ", "max_tokens": 5, "temperature": 0})
    assert reply.tokens == 5 and reply.text and 0 < reply.seconds < PATIENCE_S


def test_nothing_listens() -> None:
    with pytest.raises(ResourceError, match=r"nothing answers at http://127.0.0.1:\d+ .*codenas serve"):
        ask(f"http://127.0.0.1:{free_port()}", {"prompt": "a"})


@pytest.mark.parametrize("address", ["nowhere", "ftp://127.0.0.1", "http://a:b", ""])
def test_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match="no URL of an endpoint"):
        ask(address, {"prompt": "a"})


def test_refusals_are_repeated_in_the_words_of_the_endpoint(url: str) -> None:
    with pytest.raises(ConfigError, match=f"{url} answers 400: temperature"):
        ask(url, {"prompt": "a", "temperature": 3})
    with running(tiny_app(api_key="right")) as guarded:
        with pytest.raises(ConfigError, match="answers 401: .*API key"):
            ask(guarded, {"prompt": "a"}, api_key="wrong")
        assert ask(guarded, {"prompt": "a", "temperature": 0}, api_key="right").tokens > 0


def test_an_answer_that_breaks_off() -> None:
    with running(tiny_app(poisoned_model(*VOCABULARY.encode("?!")))) as url:
        code, _, error = run("complete", "--url", url, "a?")
        assert code == 2 and error.splitlines()[-1].startswith(
            f"codenas: {url} failed during the completion"
        )  # before it, the endpoint's own log


def test_another_program_answers() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"choices": []}')

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    with http_server(Other) as url, pytest.raises(ResourceError, match="does not speak the completions protocol"):
        ask(url, {"prompt": "a"})


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"two\nlines", "ключ".encode()])
def test_a_key_file_that_holds_no_key(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    code, _, error = run("complete", "--api-key-file", str(path), "a")
    assert code == 2 and str(path) in error and error.count("\n") == 1


@pytest.mark.parametrize("host", ["1.2.3.4", "no such host"])
def test_a_host_of_another_machine(host: str) -> None:
    with pytest.raises(ResourceError, match=f"cannot listen on {host}: .*choose a --host of this machine"):
        require_free_port(host, free_port())


@pytest.mark.parametrize("host", ["\ud800", "x\0"])
def test_a_host_that_no_machine_can_have(host: str) -> None:
    with pytest.raises(ResourceError, match="it is no name of a host; choose a --host of this machine"):
        require_free_port(host, free_port())


def test_a_prompt_that_is_no_text() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "codenas", "complete"], cwd=ROOT, input=b"def \xff", capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == b"codenas: the prompt is not UTF-8 (byte 0xff at 4); give it source code\n"


def test_serve_without_a_model(tmp_path: Path) -> None:
    result = codenas("serve", "--run", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f"codenas: {tmp_path / 'model'} is missing; run `codenas train` first"]


def test_serve_on_a_busy_port(url: str, tmp_path: Path) -> None:
    port = url.rpartition(":")[2]
    result = codenas("serve", str(write_tiny_checkpoint(tmp_path).path), "--port", port)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line and str(os.getpid()) in line and "--port" in line


def test_serve_on_a_device_that_is_not_there(tmp_path: Path) -> None:
    result = codenas("serve", str(write_tiny_checkpoint(tmp_path).path), "--device", "cuda:77")
    assert result.returncode == 2
    assert (
        result.stderr.startswith("codenas: --device cuda:77: torch finds no such device; available: cpu") and result.stderr.count("\n") == 1
    )


HERE = context_on("cpu", 1, "torch", "bfloat16")  # which torch decodes, whatever is built


@pytest.mark.parametrize(
    ("decided", "differs"),
    [
        (HERE, False),
        (None, False),
        (HERE.model_copy(update={"threads": 2}), True),
        (HERE.model_copy(update={"precision": "float32"}), True),
        (HERE.model_copy(update={"backend": None, "clock": None}), True),
        (HERE.model_copy(update={"device": "NVIDIA H200"}), True),
    ],
)
def test_an_endpoint_on_another_device_than_the_search_warns(decided: LatencyContext | None, differs: bool) -> None:
    settings = tiny_settings().model_copy(update={"precision": "bfloat16"})
    warning = context_warning(settings, ArchSpec(), Metrics(latency_ms_p50=1.5, latency_context=decided))
    assert (warning is not None) == differs
    if warning is not None:
        assert str(HERE) in warning and str(decided) in warning and "1.50 ms per token" in warning
    assert context_warning(settings, ArchSpec(), Metrics()) is None


def codenas(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, to its end."""
    return subprocess.run([sys.executable, "-m", "codenas", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


@contextmanager
def serving(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """`codenas serve` in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "codenas", "serve", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_S)


@pytest.mark.cluster
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_serve_answers_until_it_is_interrupted_and_leaves_nothing(tmp_path: Path, end: signal.Signals) -> None:
    checkpoint, port = write_tiny_checkpoint(tmp_path).path, free_port()
    with serving(str(checkpoint), "--port", str(port), "--name", MODEL_NAME) as process:
        assert process.stdout is not None
        output = ""
        while "roles: [autocomplete]" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        assert f"curl http://127.0.0.1:{port}/v1/completions" in output and f"apiBase: http://127.0.0.1:{port}/v1" in output
        assert ask(f"http://127.0.0.1:{port}", {"prompt": "a", "max_tokens": 3, "temperature": 0}).tokens == 3
        started = psutil.Process(process.pid).children(recursive=True)
        assert started
        if end == signal.SIGINT:
            os.killpg(process.pid, end)  # a terminal sends Ctrl-C to the whole group
        else:
            process.terminate()
        rest = process.communicate(timeout=PATIENCE_S)[0]
        assert process.returncode == 0, rest
        assert rest.endswith("stopping ...\n") and "Traceback" not in rest
        _, left = psutil.wait_procs(started, timeout=PATIENCE_S)
        assert left == []
