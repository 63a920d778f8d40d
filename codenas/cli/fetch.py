"""`codenas fetch`: download a run from a cluster."""

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

import typer

from codenas.cli.remote import TokenFile, cluster_token

DEFAULT_CLIENT_ADDRESS = "ray://127.0.0.1:10001"


def fetch(
    run: Annotated[PurePosixPath, typer.Argument(parser=PurePosixPath, metavar="RUN", help="The run's folder on the cluster.")],
    output: Annotated[Path | None, typer.Option(help="The local folder. [default: runs/ and the name of RUN]")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Include corpus and training states, to resume here.")] = False,
    address: Annotated[str, typer.Option(help="Address of the head for Ray clients.")] = DEFAULT_CLIENT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Download a run from a cluster: history, result, checkpoints, model, evaluation, pictures.

    Files are transferred through Ray's object store and the port for clients, so neither a shared folder nor a bucket is
    needed; this machine and the cluster must have the same versions of Ray and Python. The digest of each file is verified,
    and the folder appears when it is complete.
    """
    from codenas.errors import ConfigError
    from tune_jobs.cluster.address import require_listener
    from tune_jobs.cluster.local import local_ray

    if not run.is_absolute():
        raise ConfigError(f"{run} is relative; give the absolute path on the cluster, as in --run")
    place = output or Path("runs") / run.name
    _require_client_address(address)
    require_listener(address)  # before Ray is imported
    if token := cluster_token(token_file):
        os.environ["RAY_AUTH_TOKEN"] = token  # before Ray is imported: then it is read
    with local_ray(address=address):
        from tune_jobs.fetch import fetch as fetch_run

        fetched = fetch_run(run, place, everything)
    typer.echo(f"{place}: {fetched.files} files, {fetched.size_bytes / 1e6:.2f} MB")


def _require_client_address(address: str) -> None:
    from codenas.errors import ConfigError

    port = None
    with contextlib.suppress(ValueError):  # a port that is no number
        port = urlsplit(address).port
    if not address.startswith("ray://") or port is None:
        raise ConfigError(f"{address!r} is no address for Ray clients; an example is {DEFAULT_CLIENT_ADDRESS} (not the dashboard)")
