"""Work for a cluster: a real head with its dashboard on 127.0.0.1 and a token, a real search, and what can go wrong on the way."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI

from codenas.corpus import Corpus
from codenas.experiment.run import Run
from codenas.experiment.status import read_status
from codenas.log import LOGGER
from tests.cli.commands import codenas, complaint, shown
from tests.fakes import SMALL_SEARCH, tiny_corpus
from tests.heads import ROOT, Head, head
from tests.loopback import free_port, proxied_environment
from tests.serve.servers import running, until
from tune_jobs.submit import Cluster, Submission
from tune_jobs.telemetry import GPU_MEMORY, INSTRUMENTS, LOST

LONG_SEARCH = SMALL_SEARCH.replace("[2, 4]", "[2, 400_000]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Head]:
    with head() as found:
        processes = found.tree()
        yield found
    until(lambda: all(map(gone, processes)))


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # an orphan that has ended, and that nobody has asked for yet
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The token of whoever runs the tests is nobody's business; the log goes with the test. A proxy gets nothing of any command."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with proxied_environment() as sent:
        yield
    assert sent == []
    LOGGER.handlers.clear()
    LOGGER.propagate = True


@pytest.fixture
def known(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """The cluster, to whose dashboard the environment leads."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", cluster.url)
    return cluster


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "job.toml").write_text(SMALL_SEARCH)
    return tmp_path / "job.toml"


@pytest.mark.cluster
@pytest.mark.timeout(300)  # it starts the head
def test_a_submitted_search_is_followed_to_its_end(known: Head, corpus: Corpus, job: Path, tmp_path: Path) -> None:
    assert known.listeners() <= {"127.0.0.1", "::ffff:127.0.0.1"}
    run = tmp_path / "a run"
    mirror = tmp_path / "mirror"
    output = shown("submit", "search", job, "--run", run, "--corpus", corpus.path, "--mirror", mirror.as_uri(), "--max-mb", "5", "--follow")
    job_id = output.split()[0]
    assert f"{job_id} is submitted to {known.url}, its run is {run}" in output
    assert "search: 3 candidates to 2 steps" in output and output.endswith(f"{job_id}: SUCCEEDED\n")
    seen = read_status(Run(run))
    assert seen.result is not None and seen.config is not None
    assert [limit.limit for limit in seen.config.objectives if limit.metric == "size_bytes"] == [5e6]
    assert (mirror / "result.json").read_bytes() == (run / "search" / "result.json").read_bytes()
    assert "3 candidates trained" in shown("logs", job_id)
    (line,) = [line for line in shown("jobs").splitlines() if job_id in line]
    assert "SUCCEEDED" in line and Cluster(known.url, known.token).job(job_id).run == str(run)
    assert f"{job_id}: SUCCEEDED" in shown("stop", job_id)  # what is over cannot be stopped


@pytest.mark.cluster
def test_a_search_is_measured_while_it_works_and_when_stopped_keeps_its_run(known: Head, corpus: Corpus, job: Path, tmp_path: Path) -> None:
    job.write_text(LONG_SEARCH)
    run = tmp_path / "run"
    job_id = shown("submit", "search", job, "--run", run, "--corpus", corpus.path).split()[0]
    output = ""
    for piece in Cluster(known.url, known.token).follow(job_id):
        output += piece
        if output.count(" at 2 steps: ") == 3:  # the promoted one now trains for hours
            break
    never = (LOST, GPU_MEMORY)
    wanted = [f"{each.exported}{{" for each in INSTRUMENTS if each not in never] + [f'run="{run}"', 'rung="2"', 'state="trained"']
    until(lambda: all(word in httpx.get(known.metrics, trust_env=False).text for word in wanted), lambda: threading.Event().wait(0.2))
    assert f"{job_id}: STOPPED" in shown("stop", job_id)
    seen = read_status(Run(run))
    assert seen.config is not None and seen.result is None and seen.holder is None
    assert len([trial for trial in seen.trials if trial.report(2)]) == 3
    until(lambda: not any("Trainable" in title for title in known.titles()))


@pytest.mark.cluster
def test_a_job_that_fails_is_reported_with_its_reason(known: Head) -> None:
    job_id = Cluster(known.url, known.token).submit(Submission("echo there is no corpus && exit 2", {}, "/runs/x"))
    done = codenas("logs", job_id, "--follow")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "there is no corpus" in done.stdout
    assert f"{job_id} is FAILED: Job entrypoint command failed with exit code 2; submitted again" in done.stderr


@pytest.mark.cluster
@pytest.mark.parametrize("command", [["logs", "address"], ["logs", "address", "--follow"], ["stop", "address"]])
def test_an_unknown_job_id_is_a_one_line_error(command: list[str], known: Head) -> None:
    assert f"there is no job address at {known.url}; `codenas jobs` lists them" in complaint(*command)


@pytest.mark.cluster
def test_the_token_comes_from_a_file_or_the_environment(cluster: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "right").write_text(f"{cluster.token}\n")
    (tmp_path / "wrong").write_text("wrong")
    given = ["jobs", "--address", cluster.url]
    assert "requires a token; set RAY_AUTH_TOKEN, or name a file with --token-file" in complaint(*given)
    assert "rejects this token; set RAY_AUTH_TOKEN" in complaint(*given, "--token-file", tmp_path / "wrong")
    assert "Jobs at" in shown(*given, "--token-file", tmp_path / "right")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "right"))
    assert "Jobs at" in shown(*given)
    assert "cannot be read" in complaint(*given, "--token-file", tmp_path / "absent")


@pytest.mark.cluster
@pytest.mark.timeout(300)  # now and then the server that Ray starts for a client is dead at birth: another one, after the head's patience
def test_a_run_is_fetched_by_the_port_for_clients(known: Head, tmp_path: Path) -> None:
    """In a process of its own: Ray reads the token when it is imported."""
    (tmp_path / "there" / "search").mkdir(parents=True)
    (tmp_path / "there" / "search" / "job.json").write_text("{}")
    command = [sys.executable, "-m", "codenas", "fetch", str(tmp_path / "there"), "--address", known.client]
    (tmp_path / "token").write_text(known.token)
    command += ["--output", str(tmp_path / "here"), "--token-file", str(tmp_path / "token")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'here'}: 1 files, 0.00 MB\n", "")
    assert (tmp_path / "here" / "search" / "job.json").read_text() == "{}"
    assert known.listeners() <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["runs/x"], "runs/x is relative; give the absolute path on the cluster, as in --run"),
        (
            ["/runs/x", "--address", "http://127.0.0.1:8265"],
            "'http://127.0.0.1:8265' is no address for Ray clients; an example is ray://127.0.0.1:10001",
        ),
        (["/runs/x", "--address", "ray://127.0.0.1"], "'ray://127.0.0.1' is no address for Ray clients"),
        (["/runs/x", "--address", "ray://127.0.0.1:x"], "'ray://127.0.0.1:x' is no address for Ray clients"),
        (["/runs/x", "--address", "ray://127.0.0.1:PORT"], "nothing listens at ray://127.0.0.1:PORT (Connection refused); check --address"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(given: list[str], message: str) -> None:
    port = str(free_port())
    assert message.replace("PORT", port) in complaint("fetch", *(word.replace("PORT", port) for word in given))


def test_no_server_and_another_server_at_the_address_are_errors() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert f"no cluster answers at {address} (ConnectError); check --address" in complaint("jobs", "--address", address)
    assert "'HEAD:8265' is not the URL of a cluster's dashboard" in complaint("jobs", "--address", "HEAD:8265")
    with running(FastAPI()) as url:
        assert f"{url} is not a Ray dashboard (status 404)" in complaint("jobs", "--address", url)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--run", "runs/x"], "--run runs/x is relative to a folder that ends with the job"),
        (["--run", "/runs/x", "--corpus", "c"], "--corpus c is relative"),
        (["--run", "/runs/x", "--ship", "data/laptop.json", "--mirror", "/mirror"], "--mirror /mirror is not supported"),
        (["--run", "/runs/x", "--ship", "absent.json"], "--ship absent.json: there is no such file"),
        (["--run", "/runs/x", "--ship", "../laptop.json"], "--ship ../laptop.json must be a relative path below this folder"),
        (
            ["--run", "/runs/x", "--ship", "job.toml"],
            "--ship job.toml must be a relative path below this folder, other than the job file's",
        ),
        (["--run", "/runs/x"], "the job reads the calibration data/laptop.json, which is not uploaded; add --ship data/laptop.json"),
        (["--run", "/runs/x", "--max-mb", "0"], "--max-mb 0 must be a number above 0"),
        (["--run", "/runs/x", "--ship", "data/laptop.json", "--runtime-env", "job.toml"], "--runtime-env job.toml cannot be read"),
        (["--run", "/runs/x", "--ship", "data/laptop.json", "--runtime-env", "env.json"], "must contain an object without working_dir"),
    ],
)
def test_what_cannot_work_there_is_refused_here(
    given: list[str], message: str, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    (here / "data" / "laptop.json").touch()
    (tmp_path / "laptop.json").touch()
    (here / "env.json").write_text(json.dumps({"working_dir": "."}))
    (here / "job.toml").write_text(SMALL_SEARCH.replace("[search]", '[search]\ncalibration = "data/laptop.json"'))
    monkeypatch.chdir(here)
    assert message in complaint("submit", "search", "job.toml", *given, "--address", f"http://127.0.0.1:{free_port()}")


@pytest.mark.cluster
def test_what_is_shipped_lies_where_the_job_file_says(known: Head, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"this is {name}\n")
    files = {"a.txt": tmp_path / "a.txt", "data/b.txt": tmp_path / "b.txt"}
    cluster = Cluster(known.url, known.token)
    work = Submission("find . -type f | sort && cat data/b.txt && echo $WORD", files, "/runs/x", {"env_vars": {"WORD": "spoken"}}, cpus=1)
    output = "".join(cluster.follow(job_id := cluster.submit(work)))
    # Ray writes a line of its own when it has started the command, which may have begun to speak by then.
    spoken = [line for line in output.splitlines() if "job_manager" not in line and not line.startswith("Running entrypoint")]
    assert spoken == ["./a.txt", "./data/b.txt", "this is b.txt", "spoken"]
    assert cluster.job(job_id).run == "/runs/x"
