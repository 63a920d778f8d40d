"""`codenas serve`: serve a model over OpenAI's completions API until Ctrl-C."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run
from codenas.interrupts import interrupts_deferred

if TYPE_CHECKING:
    from codenas.arch import ArchSpec
    from codenas.metrics import Metrics
    from serve.settings import ServeSettings

LOOPBACK = "127.0.0.1"


def serve(
    checkpoint: Annotated[Path | None, typer.Argument(help="A checkpoint folder. [default: the model of --run]")] = None,
    run: Annotated[Path, typer.Option(help="The run whose trained model is served.")] = DEFAULT_RUN,
    host: Annotated[str, typer.Option(help="Address to listen on. Everyone who can reach it can use the endpoint.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name of the model for clients. [default: the name of the folder]")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with the API key that clients must send.")] = None,
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda, cuda:1, or auto (a GPU if there is one).")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads that decode.")] = 1,
    max_batch: Annotated[int, typer.Option(help="Maximum number of sequences in a batch.")] = 8,
    max_queue: Annotated[int, typer.Option(help="Maximum number of waiting sequences; further requests get status 429.")] = 32,
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
    from codenas.experiment.device import resolve_device  # imports torch: not before the options are checked

    settings = settings.model_copy(update={"device": resolve_device(device)})
    serve_until_interrupted(settings)


def serve_until_interrupted(settings: "ServeSettings") -> None:
    """Serve on a local Ray until Ctrl-C or SIGTERM, then stop it."""
    from codenas.checkpoint import Checkpoint
    from codenas.experiment.device import gpu_number
    from codenas.log import LOGGER
    from tune_jobs.cluster.local import local_ray

    check_port(settings.port, settings.host)
    checkpoint = Checkpoint.open(settings.checkpoint)  # before Ray is started
    if (warning := context_warning(settings, checkpoint.manifest.arch, checkpoint.manifest.metrics)) is not None:
        LOGGER.warning(warning)
    typer.echo(f"starting {settings.checkpoint} ...")
    answering = False
    try:
        with local_ray(cpus=1, gpus=None if settings.device == "cpu" else [gpu_number(settings.device)]):
            from serve.launch import start  # not before: importing Ray fixes settings that local_ray makes

            with interrupts_deferred():  # Ray Serve prints errors if its start is interrupted
                url = start(settings)
            typer.echo(greeting(url, settings.model_name, settings.api_key is not None))
            answering = True
            _wait()
    except KeyboardInterrupt:
        if not answering:
            raise


def context_warning(settings: "ServeSettings", arch: "ArchSpec", decided: "Metrics") -> str | None:
    """A warning where the endpoint decodes on something else than the search's latencies were measured on; None where it does not."""
    from codenas.decode.choice import BackendOptions, choose_backend
    from codenas.measure.served import context_on
    from codenas.metrics import LATENCY, METRICS

    if decided.latency_ms_p50 is None or decided.latency_context is None:
        return None
    options = BackendOptions(threads=settings.threads, device=settings.device, precision=settings.precision)
    choice = choose_backend(arch, options)
    context = context_on(settings.device, settings.threads, choice.name, choice.precision)
    if context == decided.latency_context:
        return None
    return (
        f"warning: this endpoint decodes on {context}; the search decided on {METRICS[LATENCY].format(decided.latency_ms_p50)} "
        f"on {decided.latency_context}: expect another latency (--device and --threads choose)"
    )


def _wait() -> None:
    import threading

    try:
        threading.Event().wait()
    finally:
        typer.echo("stopping ...")  # leaving `local_ray` ends all processes


@contextlib.contextmanager
def serving(settings: "ServeSettings") -> Iterator[str]:
    """Serve on the Ray of this process for the duration of the block; yields the URL."""
    from serve.launch import start, stop

    try:
        with interrupts_deferred():
            url = start(settings)
        yield url
    finally:
        with interrupts_deferred():
            stop()


def check_port(port: int, host: str = LOOPBACK) -> None:
    """Raise `ResourceError` unless `port` can be listened on."""
    from serve.port import require_free_port

    require_free_port(host, port)


def greeting(url: str, model: str, with_key: bool) -> str:
    """How to use the endpoint: with curl, with `codenas complete`, from an editor (Continue's config.yaml)."""
    header = '  -H "Authorization: Bearer $KEY" \\\n' if with_key else ""
    return f"""
{model} is served at {url} (documentation: {url}/docs). Press Ctrl-C to stop.

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
