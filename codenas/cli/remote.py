"""`codenas jobs`, `codenas logs` and `codenas stop`: what was submitted to a cluster."""

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

Address = Annotated[str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the cluster.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="A file with the cluster's token. [default: that of RAY_AUTH_TOKEN, or of the file in RAY_AUTH_TOKEN_PATH]"),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="As `codenas submit` and `codenas jobs` tell it.")]


def jobs(address: Address = DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """List the jobs of a cluster, the latest first."""
    from rich.table import Table

    from codenas.cli.console import console

    table = Table(title=f"Jobs at {address}", title_justify="left")
    for heading in ("id", "status", "started", "took", "run"):
        table.add_column(heading, justify="right" if heading == "took" else "left", overflow="fold")
    for job in connect(address, token_file).jobs():
        table.add_row(*_cells(job))
    console().print(table)


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job is over; Ctrl-C leaves the job alone.")] = False,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
) -> None:
    """Print what a job has said."""
    cluster = connect(address, token_file)
    if follow:
        follow_job(cluster, job_id)
    else:
        _say(cluster.logs(job_id))


def stop(job_id: JobId, address: Address = DEFAULT_ADDRESS, token_file: TokenFile = None) -> None:
    """End a job. What it has finished is kept; submitted again with the same --run, a search goes on there."""
    from codenas.errors import ResourceError

    cluster = connect(address, token_file)
    cluster.job(job_id)
    cluster.stop(job_id)
    deadline = time.monotonic() + STOP_PATIENCE_S
    while not (job := cluster.job(job_id)).over:
        if time.monotonic() > deadline:
            raise ResourceError(f"{job_id} is still {job.status} after {STOP_PATIENCE_S} s; look at it again with `codenas jobs`")
        threading.Event().wait(0.2)
    typer.echo(f"{job_id}: {job.status}")


def connect(address: str, token_file: Path | None) -> "Cluster":
    """The cluster at `address`; raises as `Cluster`."""
    from tune_jobs.submit import Cluster

    return Cluster(address, cluster_token(token_file))


def cluster_token(token_file: Path | None) -> str | None:
    """The token in `token_file`; without one that of the environment, where Ray looks for it, too.

    Raises:
        ConfigError: the file cannot be read, or holds none.
    """
    from codenas.cli.complete import read_key

    if token_file is None and (token := os.environ.get("RAY_AUTH_TOKEN")):
        return token
    named, own = os.environ.get("RAY_AUTH_TOKEN_PATH"), Path.home() / ".ray" / "auth_token"
    return read_key(token_file or (Path(named) if named else own if own.exists() else None))


def follow_job(cluster: "Cluster", job_id: str) -> None:
    """Print what a job says until it is over.

    Raises:
        RunError: it did not succeed.
    """
    from codenas.errors import RunError

    try:
        for piece in cluster.follow(job_id):
            _say(piece)
    except KeyboardInterrupt:
        typer.echo(f"{job_id} goes on; `codenas logs {job_id} --follow` follows it again, `codenas stop {job_id}` ends it", err=True)
        return
    job = cluster.job(job_id)
    if job.status != "SUCCEEDED":
        raise RunError(f"{job_id} is {job.status}: {job.message}; submitted again with the same --run, a search goes on where it was")
    typer.echo(f"{job_id}: {job.status}")


def _say(text: str) -> None:
    """Write `text` as it is: a progress bar of another program keeps its lines."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _cells(job: "RemoteJob") -> list[str]:
    from codenas.log import duration
    from codenas.report.scale import ABSENT

    if job.started is None:
        return [job.id, job.status, ABSENT, ABSENT, job.run or ABSENT]
    took = duration((job.ended or time.time()) - job.started)
    return [job.id, job.status, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started)), took, job.run or ABSENT]
