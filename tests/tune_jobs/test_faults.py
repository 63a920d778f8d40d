"""A search on a cluster of several nodes: a node is killed, then the driver; what was finished is not trained again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codenas.errors import ResourceError
from tests.fakes import tiny_corpus
from tests.nodes import ROOT, Driver, Nodes, essence, finished_rungs, nodes, stored_weights, wait_until
from tune_jobs.submit import Cluster, Submission

JOB = """
[search]
seed = 3
budget = { candidates = 5, rungs = [150, 450], promote = [2] }
objectives = [{ metric = "bits_per_byte", weight = 1.0 }]
train = { batch_size = 4, precision = "float32" }
trial = { score_tokens = 256, latency_tokens = 4, retries = 0 }
[search.space]
base = { d_model = 16, n_layers = 1, context_len = 32 }
choices = { d_model = [16, 32, 48], n_layers = [1, 2], norm = ["rmsnorm", "layernorm"] }
"""  # without retries: a candidate would pay for the death of its node


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    with nodes() as found:
        found.start_head()
        yield found


@pytest.mark.cluster
def test_a_head_that_dies_while_a_job_is_followed_is_one_line() -> None:
    with nodes() as cluster:
        cluster.start_head(dashboard=True)
        assert cluster.head is not None
        jobs = Cluster(cluster.dashboard, cluster.token)
        output = jobs.follow(jobs.submit(Submission("sleep 1000", {}, "run")))
        next(output)
        cluster.head.kill()
        with pytest.raises(
            ResourceError, match=rf"^the connection to {cluster.dashboard} broke \(.*\); jobs keep running as long as the head is up"
        ):
            list(output)


@pytest.mark.cluster
@pytest.mark.timeout(600)  # three nodes and two drivers are started; on a quiet machine all of it takes less than a minute
def test_a_killed_node_and_a_killed_driver_change_nothing(cluster: Nodes, tmp_path: Path) -> None:
    """Also not the number of failures: nobody is blamed for the death of a node."""
    corpus = tiny_corpus(tmp_path / "corpus").path
    (tmp_path / "job.toml").write_text(JOB)
    new = ("--job", tmp_path / "job.toml", "--corpus", corpus)
    calm = [sys.executable, "-m", "codenas", "search", "--no-ray", "--run", str(tmp_path / "calm"), *map(str, new)]
    for _ in range(2):
        cluster.add_worker()

    driver = Driver.start(cluster, tmp_path / "run", "--run", tmp_path / "run", *new)
    driver.until(reports=1)
    wait_until(lambda: any(node.trials() for node in cluster.workers), driver.log)
    next(node for node in cluster.workers if node.trials()).kill()
    driver.until(reports=driver.reports() + 2)
    driver.process.kill()
    driver.process.wait()
    kept = stored_weights(tmp_path / "run")

    again = Driver.start(cluster, tmp_path / "run", "--resume", tmp_path / "run")
    assert again.process.wait() == 0, again.log()
    subprocess.run(calm, cwd=ROOT, check=True, capture_output=True)
    assert essence(tmp_path / "run") == essence(tmp_path / "calm")
    assert set(finished_rungs(tmp_path / "run").values()) == {1}
    assert kept.items() <= stored_weights(tmp_path / "run").items(), "a stored rung was trained again"
    assert "Traceback" not in again.log()
