"""`codenas submit search`: submit a search to a cluster."""

import json
import shlex
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codenas.cli.overrides import Overrides
from codenas.cli.remote import DEFAULT_ADDRESS, Address, TokenFile, connect, follow_job

if TYPE_CHECKING:
    from codenas.experiment.jobs import SearchJob


def submit_search(
    job: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file; its [search] table is used.")],
    run: Annotated[
        PurePosixPath,
        typer.Option(
            parser=PurePosixPath, metavar="PATH", help="The run's folder on the cluster: shared by its nodes, unless there is a mirror."
        ),
    ],
    corpus: Annotated[
        PurePosixPath | None,
        typer.Option(parser=PurePosixPath, metavar="PATH", help="A prepared corpus on the cluster. [default: the run's own]"),
    ] = None,
    overrides: Overrides = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Also store the search at s3://BUCKET/FOLDER (gs://, file://), see `codenas search`.")
    ] = None,
    max_mb: Annotated[float | None, typer.Option(help="Limit on the stored size, in MB.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Limit on the median latency of a token, in ms.")] = None,
    ship: Annotated[list[Path] | None, typer.Option(help="A file that the job needs, such as a calibration; repeatable.")] = None,
    runtime_env: Annotated[Path | None, typer.Option(help="A JSON file: Ray's runtime environment, such as pip and env_vars.")] = None,
    entrypoint_num_cpus: Annotated[float, typer.Option(min=0, help="CPUs for the driver of the search; trials request their own.")] = 0,
    entrypoint_num_gpus: Annotated[float, typer.Option(min=0, help="GPUs for the driver of the search; trials request their own.")] = 0,
    address: Address = DEFAULT_ADDRESS,
    token_file: TokenFile = None,
    follow: Annotated[bool, typer.Option("--follow", help="Follow the log until the job ends; Ctrl-C does not stop the job.")] = False,
) -> None:
    """Submit a search to a Ray cluster that has CodeNAS installed; JOB.toml and the files of --ship are uploaded.

    The search runs there independently of this machine. The job file sets the resources of a trial ([search] trial = { gpus = 1 }).
    The token comes from the environment or a file, never from the command line, which every user of a machine can read.
    """
    from codenas.cli.job_file import load_job
    from codenas.cli.objectives import with_objectives
    from codenas.experiment.objects import require_known
    from tune_jobs.submit import Submission

    wanted = with_objectives(load_job(job, overrides or ()).search, max_mb, max_ms)  # errors are reported here, not on the cluster
    files = {job.name: job, **_shipped(job, ship or [])}
    _require_cluster_paths({"--run": run, "--corpus": corpus})
    _require_calibration(wanted, files)
    if mirror is not None:
        require_known(mirror)
    given = {"--job": job.name, "--run": run, "--corpus": corpus, "--mirror": mirror, "--max-mb": max_mb, "--max-ms": max_ms}
    words = [str(word) for option, value in given.items() if value is not None for word in (option, value)]
    words += [word for override in overrides or () for word in ("--set", override)]
    work = Submission(
        entrypoint=shlex.join(["codenas", "search", *words, "--address", "auto"]),
        files=files,
        run=str(run),
        runtime_env=_runtime_env(runtime_env),
        cpus=entrypoint_num_cpus,
        gpus=entrypoint_num_gpus,
    )
    cluster = connect(address, token_file)
    job_id = cluster.submit(work)
    typer.echo(f"{job_id} is submitted to {address}, its run is {run}")
    if follow:
        follow_job(cluster, job_id)
    else:
        typer.echo(f"  codenas logs {job_id} --follow --address {address}\n  codenas stop {job_id} --address {address}")


def _shipped(job: Path, paths: list[Path]) -> dict[str, Path]:
    """The files to upload, by the names that the job file uses for them."""
    from codenas.errors import ConfigError

    for path in paths:
        if not path.is_file():
            raise ConfigError(f"--ship {path}: there is no such file; folders and corpora must be on the cluster already")
        if path.is_absolute() or ".." in path.parts or str(path) == job.name:
            raise ConfigError(f"--ship {path} must be a relative path below this folder, other than the job file's")
    return {path.as_posix(): path for path in paths}


def _require_cluster_paths(paths: dict[str, PurePosixPath | None]) -> None:
    from codenas.errors import ConfigError

    for option, path in paths.items():
        if path is not None and not path.is_absolute():
            raise ConfigError(f"{option} {path} is relative to a folder that ends with the job; give the absolute path on the cluster")


def _require_calibration(job: "SearchJob", files: dict[str, Path]) -> None:
    from codenas.errors import ConfigError

    path = job.calibration
    if path is not None and not path.is_absolute() and path.as_posix() not in files:
        raise ConfigError(f"the job reads the calibration {path}, which is not uploaded; add --ship {path}")


def _runtime_env(path: Path | None) -> dict[str, Any]:
    from codenas.errors import ConfigError
    from codenas.files import read_user_text

    if path is None:
        return {}
    try:
        content = json.loads(read_user_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--runtime-env {path} cannot be read ({error}); give a JSON file") from error
    if not isinstance(content, dict) or "working_dir" in content:
        raise ConfigError(f"--runtime-env {path} must contain an object without working_dir: files are uploaded with --ship")
    return content
