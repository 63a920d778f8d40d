"""`codenas serve`: a model behind the completions protocol, until Ctrl-C."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run
from codenas.interrupts import held

if TYPE_CHECKING:
    from serve.settings import ServeSettings

LOOPBACK = "127.0.0.1"


def serve(
    checkpoint: Annotated[Path | None, typer.Argument(help="A checkpoint folder. By default the model of --run.")] = None,
    run: Annotated[Path, typer.Option(help="The run whose trained model is served.")] = DEFAULT_RUN,
    host: Annotated[str, typer.Option(help="Whoever reaches this address can use the endpoint.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="Where it listens.")] = 8000,
    name: Annotated[str | None, typer.Option(help="The model's name to clients. By default the folder's.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with the key that clients must send.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    max_batch: Annotated[int, typer.Option(help="Sequences that are decoded at a time.")] = 8,
    max_queue: Annotated[int, typer.Option(help="Sequences that may wait; one more is answered 429.")] = 32,
) -> None:
    """Serve a model over HTTP (OpenAI's completions) until Ctrl-C."""
    from pydantic import SecretStr

    from codenas.cli.complete import read_key
    from codenas.cli.options import settings_of
    from serve.settings import ServeSettings

    given = {
        "checkpoint": (checkpoint or Run(run).require(Run(run).model, "codenas train")).absolute(),
        "model_name": (checkpoint or run).absolute().name if name is None else name,
        "host": host, "port": port, "device": device, "threads": threads, "max_batch": max_batch, "max_queue": max_queue,
        "api_key": SecretStr(key) if (key := read_key(api_key_file)) else None,
    }  # fmt: skip
    settings = settings_of(ServeSettings, given, {"model_name": "--name"})
    serve_until_interrupted(settings)


def serve_until_interrupted(settings: "ServeSettings") -> None:
    """Serve on a Ray of one's own; returns after Ctrl-C or SIGTERM, with nothing left behind."""
    from codenas.checkpoint import Checkpoint
    from tune_jobs.cluster.local import local_ray

    check_port(settings.port, settings.host)
    Checkpoint.open(settings.checkpoint)  # better now than when Ray is up
    typer.echo(f"starting {settings.checkpoint} ...")
    answering = False
    try:
        with local_ray(cpus=1):
            from serve.launch import start  # not before: importing Ray fixes settings that local_ray makes

            with held():  # Ray Serve leaves noise where its start is torn in two
                url = start(settings)
            typer.echo(greeting(url, settings.model_name, settings.api_key is not None))
            answering = True
            _wait()
    except KeyboardInterrupt:
        if not answering:
            raise


def _wait() -> None:
    import threading

    try:
        threading.Event().wait()
    finally:
        typer.echo("stopping ...")  # with Ray, all at once: there is nothing to keep


@contextlib.contextmanager
def serving(settings: "ServeSettings") -> Iterator[str]:
    """Serve on the Ray that runs in this process; yields the URL and stops on leaving."""
    from serve.launch import start, stop

    try:
        with held():
            url = start(settings)
        yield url
    finally:
        with held():
            stop()


def check_port(port: int, host: str = LOOPBACK) -> None:
    """Raise `ResourceError` unless `port` can be listened on."""
    from serve.port import require_free_port

    require_free_port(host, port)


def greeting(url: str, model: str, with_key: bool) -> str:
    """How to ask the endpoint: by curl, by `codenas complete`, from an editor (Continue's config.yaml)."""
    header = '  -H "Authorization: Bearer $KEY" \\\n' if with_key else ""
    return f"""
{model} answers at {url} (documentation: {url}/docs). Ctrl-C ends it.

curl {url}/v1/completions \\
{header}  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "prompt": "def add(a, b):\\n", "max_tokens": 32, "temperature": 0.2}}'

codenas complete --url {url} 'def add(a, b):'

Continue (~/.continue/config.yaml):
models:
  - name: {model}
    provider: openai
    model: {model}
    apiBase: {url}/v1
    roles: [autocomplete]
    useLegacyCompletionsEndpoint: true
"""
