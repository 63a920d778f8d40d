"""`codenas jobs`, `codenas logs` and `codenas stop`: jobs that were submitted to a cluster."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tune_jobs.submit import Cluster, RemoteJob

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
STOP_PATIENCE_S = 60

Address = Annotated[str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="A file with the cluster's token. [default: that of RAY_AUTH_TOKEN, or of the file in RAY_AUTH_TOKEN_PATH]"),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The id that `codenas submit` and `codenas jobs` print.")]


def jobs(address: Address = DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """List the jobs of a cluster, newest first."""
    from rich.table import Table

    from codenas.cli.console import console

    table = Table(title=f"Jobs at {address}", title_justify="left")
    for heading in ("id", "status", "started", "duration", "run"):
        table.add_column(heading, justify="right" if heading == "duration" else "left", overflow="fold")
    for job in connect(address, token_file).jobs():
        table.add_row(*_cells(job))
    console().print(table)


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Follow the log until the job ends; Ctrl-C does not stop the job.")] = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Print the log of a job."""
    cluster = connect(address, token_file)
    if follow:
        follow_job(cluster, job_id)
    else:
        _write(cluster.logs(job_id))


def stop(job_id: JobId, address: Address = DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """Stop a job. Finished work is kept: submitted again with the same --run, a search resumes."""
    from codenas.errors import ResourceError

    cluster = connect(address, token_file)
    cluster.job(job_id)
    cluster.stop(job_id)
    deadline = time.monotonic() + STOP_PATIENCE_S
    while not (job := cluster.job(job_id)).finished:
        if time.monotonic() > deadline:
            raise ResourceError(f"{job_id} is still {job.status} after {STOP_PATIENCE_S} s; check it with `codenas jobs`")
        threading.Event().wait(0.2)
    typer.echo(f"{job_id}: {job.status}")


def connect(address: str, token_file: Path | None) -> "Cluster":
    """The cluster at `address`; raises as `Cluster`."""
    from tune_jobs.submit import Cluster

    return Cluster(address, cluster_token(token_file))


def cluster_token(token_file: Path | None) -> str | None:
    """The token in `token_file`, or the one of the environment, read from where Ray reads it.

    Raises:
        ConfigError: the file cannot be read, or contains no token.
    """
    from codenas.cli.complete import read_key

    if token_file is None and (token := os.environ.get("RAY_AUTH_TOKEN")):
        return token
    named, own = os.environ.get("RAY_AUTH_TOKEN_PATH"), Path.home() / ".ray" / "auth_token"
    return read_key(token_file or (Path(named) if named else own if own.exists() else None))


def follow_job(cluster: "Cluster", job_id: str) -> None:
    """Print the log of a job until it ends.

    Raises:
        RunError: the job did not succeed.
    """
    from codenas.errors import RunError

    try:
        for piece in cluster.follow(job_id):
            _write(piece)
    except KeyboardInterrupt:
        typer.echo(
            f"{job_id} is still running; `codenas logs {job_id} --follow` follows it again, `codenas stop {job_id}` stops it", err=True
        )
        return
    job = cluster.job(job_id)
    if job.status != "SUCCEEDED":
        raise RunError(f"{job_id} is {job.status}: {job.message}; submitted again with the same --run, a search resumes")
    typer.echo(f"{job_id}: {job.status}")


def _write(text: str) -> None:
    """Write `text` unchanged, so that carriage returns of progress bars work."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _cells(job: "RemoteJob") -> list[str]:
    from codenas.log import duration
    from codenas.report.scale import ABSENT

    if job.started is None:
        return [job.id, job.status, ABSENT, ABSENT, job.run or ABSENT]
    took = duration((job.ended or time.time()) - job.started)
    return [job.id, job.status, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started)), took, job.run or ABSENT]
