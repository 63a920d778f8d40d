"""Work for a cluster, by Ray Jobs: handed over by HTTP, it lives there, whatever becomes of this machine."""

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
from ray.job_submission import JobDetails, JobSubmissionClient

from codenas.errors import ConfigError, ResourceError
from codenas.http_client import http_client
from codenas.loopback import bypass_proxies

_RUN = "codenas_run"  # in the job's metadata: the folder of its run on the cluster
_TIMEOUT_S = 10
_CLOSED = "connection closed unexpectedly"  # what Ray says of a head that dies while a job is followed
_TOKEN_HINT = "set RAY_AUTH_TOKEN, or name a file with --token-file, to the token that the cluster was started with"


@dataclass(slots=True, frozen=True)
class Submission:
    """What is handed over.

    Attributes:
        entrypoint: a shell command of the cluster; it starts in a folder that holds `files` and nothing else.
        files: their places in that folder, and where they are here.
        run: the folder of the run, a path of the cluster.
        runtime_env: of Ray, for the command and all that it starts.
        cpus: that the command itself takes, what it starts not counted; `gpus` likewise. With 0 it runs on the head.
    """

    entrypoint: str
    files: Mapping[str, Path]
    run: str
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 0
    gpus: float = 0


@dataclass(slots=True, frozen=True)
class RemoteJob:
    """A job of the cluster. Times are Unix seconds; `run` is None for a job that was not submitted by CodeNAS."""

    id: str
    status: str
    message: str
    run: str | None
    started: float | None
    ended: float | None

    @property
    def over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """The jobs of the cluster whose dashboard answers at `address`.

    Raises:
        ConfigError: `address` is none, or the cluster does not know `token`.
        ResourceError: nothing answers there, or something else than Ray.
    """

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        _require_cluster(self._address, headers)
        bypass_proxies(self._address)  # Ray's client asks by requests, which reads the environment with every request
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they tell every upload, and the end of every log
        with self._told():
            self._client = JobSubmissionClient(self._address, headers=headers)

    def submit(self, work: Submission) -> str:
        """Hand `work` over; returns the id of the job."""
        with tempfile.TemporaryDirectory(prefix="codenas-submit-") as folder, self._told():
            for name, path in work.files.items():
                place = Path(folder, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
            return self._client.submit_job(
                entrypoint=work.entrypoint,
                runtime_env={**work.runtime_env, "working_dir": folder},
                metadata={_RUN: work.run},
                entrypoint_num_cpus=work.cpus,
                entrypoint_num_gpus=work.gpus,
            )

    def jobs(self) -> list[RemoteJob]:
        """All jobs that were ever submitted to this cluster, the latest first."""
        with self._told():
            found = [_remote_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: -(job.started or 0))

    def job(self, job_id: str) -> RemoteJob:
        """The job called `job_id`.

        Raises:
            ConfigError: there is none.
        """
        with self._told(job_id):
            return _remote_job(self._client.get_job_info(job_id))

    def logs(self, job_id: str) -> str:
        """All that the job has said; raises as `job`."""
        with self._told(job_id):
            return self._client.get_job_logs(job_id)

    def follow(self, job_id: str) -> Iterator[str]:
        """What the job says, from its beginning, as it comes, until it is over; raises as `job`."""
        self.job(job_id)  # one that does not exist is told better here
        stream = self._client.tail_job_logs(job_id)
        with self._told(job_id), asyncio.Runner() as runner:
            try:
                while (piece := runner.run(_next(stream))) is not None:
                    yield piece
            finally:
                runner.run(_close(stream))

    def stop(self, job_id: str) -> bool:
        """Ask the job to end; False if it is over. It gets SIGTERM, and SIGKILL some seconds later; raises as `job`."""
        with self._told(job_id):
            return self._client.stop_job(job_id)

    @contextlib.contextmanager
    def _told(self, job_id: str | None = None) -> Iterator[None]:
        """Errors of Ray and of the connection in one line."""
        try:
            yield
        except RuntimeError as error:
            if job_id is not None and "status code 404" in str(error):
                raise ConfigError(f"there is no job {job_id} at {self._address}; `codenas jobs` lists them") from error
            if _CLOSED in str(error):
                raise self._broken(_CLOSED) from error
            raise ResourceError(f"the cluster at {self._address} does not do that: {_last_line(error)}") from error
        except (OSError, aiohttp.ClientError) as error:  # those of requests are an OSError
            raise self._broken(type(error).__name__) from error

    def _broken(self, reason: str) -> ResourceError:
        return ResourceError(f"the connection to {self._address} broke ({reason}); as long as the head is up jobs go on there, ask again")


def _require_cluster(address: str, headers: Mapping[str, str]) -> None:
    """See that Ray answers and takes the token: Ray's own client waits for minutes, and tells it in a page."""
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # a bracket without its other one
        known = False
    if not known:
        raise ConfigError(f"{address!r} is no address of a cluster's dashboard; http://127.0.0.1:8265 is one")
    try:
        with http_client(address, headers=dict(headers), timeout=_TIMEOUT_S) as client:
            answer = client.get(f"{address}/api/version")
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ResourceError(
            f"no cluster answers at {address} ({type(error).__name__}); check --address, and that the port is open"
        ) from error
    if answer.status_code in (401, 403):
        reason = "does not know this token" if headers else "wants a token"
        raise ConfigError(f"the cluster at {address} {reason}; {_TOKEN_HINT}")
    if answer.status_code != 200 or "ray_version" not in answer.text:
        raise ResourceError(f"what answers at {address} is no Ray dashboard (status {answer.status_code}); is it another program?")


def _remote_job(details: JobDetails) -> RemoteJob:
    return RemoteJob(
        id=details.submission_id or "",
        status=str(details.status.value),
        message=(details.message or "").partition(", last available logs")[0].partition("\n")[0],
        run=(details.metadata or {}).get(_RUN),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )


async def _next(stream: AsyncIterator[str]) -> str | None:
    return await anext(stream, None)


async def _close(stream: AsyncIterator[str]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]


def _last_line(error: Exception) -> str:
    """Where the cluster sends a traceback, what happened stands at its end."""
    return str(error).strip().rstrip(".").splitlines()[-1]
