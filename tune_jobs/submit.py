"""Jobs on a cluster, through Ray Jobs over HTTP: they run independently of this machine."""

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
_CONNECTION_CLOSED = "connection closed unexpectedly"  # Ray's message if the head dies while a job's log is followed
_TOKEN_HINT = "set RAY_AUTH_TOKEN, or name a file with --token-file, to the token that the cluster was started with"


@dataclass(slots=True, frozen=True)
class Submission:
    """A job to submit.

    Attributes:
        entrypoint: a shell command; it starts on the cluster in a folder that contains `files` only.
        files: the local files by their paths in that folder.
        run: the folder of the run, a path on the cluster.
        runtime_env: Ray's runtime environment for the command and everything it starts.
        cpus, gpus: for the command itself, without what it starts. With 0 it runs on the head.
    """

    entrypoint: str
    files: Mapping[str, Path]
    run: str
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 0
    gpus: float = 0


@dataclass(slots=True, frozen=True)
class RemoteJob:
    """A job on the cluster. Times are in Unix seconds; `run` is None if CodeNAS did not submit the job."""

    id: str
    status: str
    message: str
    run: str | None
    started: float | None
    ended: float | None

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """The jobs of the cluster whose dashboard answers at `address`.

    Raises:
        ConfigError: `address` is invalid, or the cluster rejects `token`.
        ResourceError: nothing answers there, or it is not Ray.
    """

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        _require_cluster(self._address, headers)
        bypass_proxies(self._address)  # Ray's client uses requests, which reads the environment for every request
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they log every upload, and the end of every log
        with self._errors_in_one_line():
            self._client = JobSubmissionClient(self._address, headers=headers)

    def submit(self, work: Submission) -> str:
        """Submit `work`; returns the id of the job."""
        with tempfile.TemporaryDirectory(prefix="codenas-submit-") as folder, self._errors_in_one_line():
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
        """All jobs that were submitted to this cluster, newest first."""
        with self._errors_in_one_line():
            found = [_remote_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: -(job.started or 0))

    def job(self, job_id: str) -> RemoteJob:
        """The job called `job_id`.

        Raises:
            ConfigError: there is none.
        """
        with self._errors_in_one_line(job_id):
            return _remote_job(self._client.get_job_info(job_id))

    def logs(self, job_id: str) -> str:
        """The log of the job so far. Raises the same errors as `job`."""
        with self._errors_in_one_line(job_id):
            return self._client.get_job_logs(job_id)

    def follow(self, job_id: str) -> Iterator[str]:
        """The log of the job from its start, as it is written, until the job ends. Raises the same errors as `job`."""
        self.job(job_id)  # a job that does not exist is reported better here
        stream = self._client.tail_job_logs(job_id)
        with self._errors_in_one_line(job_id), asyncio.Runner() as runner:
            try:
                while (piece := runner.run(_next(stream))) is not None:
                    yield piece
            finally:
                runner.run(_close(stream))

    def stop(self, job_id: str) -> bool:
        """Stop the job: SIGTERM, then SIGKILL some seconds later. False if it has ended. Raises the same errors as `job`."""
        with self._errors_in_one_line(job_id):
            return self._client.stop_job(job_id)

    @contextlib.contextmanager
    def _errors_in_one_line(self, job_id: str | None = None) -> Iterator[None]:
        """Turn errors of Ray and of the connection into errors of one line."""
        try:
            yield
        except RuntimeError as error:
            if job_id is not None and "status code 404" in str(error):
                raise ConfigError(f"there is no job {job_id} at {self._address}; `codenas jobs` lists them") from error
            if _CONNECTION_CLOSED in str(error):
                raise self._connection_lost(_CONNECTION_CLOSED) from error
            raise ResourceError(f"the cluster at {self._address} refused the request: {_last_line(error)}") from error
        except (OSError, aiohttp.ClientError) as error:  # those of requests are an OSError
            raise self._connection_lost(type(error).__name__) from error

    def _connection_lost(self, reason: str) -> ResourceError:
        return ResourceError(f"the connection to {self._address} broke ({reason}); jobs keep running as long as the head is up; try again")


def _require_cluster(address: str, headers: Mapping[str, str]) -> None:
    """Check that Ray answers and accepts the token: Ray's own client waits for minutes and fails with a page of text."""
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # unbalanced brackets
        known = False
    if not known:
        raise ConfigError(f"{address!r} is not the URL of a cluster's dashboard, such as http://127.0.0.1:8265")
    try:
        with http_client(address, headers=dict(headers), timeout=_TIMEOUT_S) as client:
            answer = client.get(f"{address}/api/version")
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ResourceError(
            f"no cluster answers at {address} ({type(error).__name__}); check --address, and that the port is open"
        ) from error
    if answer.status_code in (401, 403):
        reason = "rejects this token" if headers else "requires a token"
        raise ConfigError(f"the cluster at {address} {reason}; {_TOKEN_HINT}")
    if answer.status_code != 200 or "ray_version" not in answer.text:
        raise ResourceError(f"{address} is not a Ray dashboard (status {answer.status_code}); check --address")


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
    """The last line, which has the reason where the cluster sends a traceback."""
    return str(error).strip().rstrip(".").splitlines()[-1]
