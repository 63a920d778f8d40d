"""A local Ray does not depend on the folder that it is started in, and is not started where it would hang."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from codenas.errors import ResourceError
from tune_jobs.cluster import local as cluster
from tune_jobs.cluster import ray_process

ROOT = Path(__file__).parents[3]

_DRIVER = """
import os, ray
from tune_jobs.cluster.local import local_ray
with local_ray(cpus=1):
    assert ray.get(ray.remote(lambda: __import__("wave").WAVE_FORMAT_PCM).remote(), timeout=60) == 1
    print(os.getcwd())
"""


@pytest.mark.cluster
def test_workers_do_not_import_modules_of_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "wave.py").write_text("raise SystemExit('the module of the user was imported')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", _DRIVER]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}\n"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """In place of a Ray: the CPUs that each start was asked for."""
    asked: list[int | None] = []
    monkeypatch.setattr(cluster, "_start", lambda cpus, _folder: asked.append(cpus))
    monkeypatch.setattr(ray_process, "shutdown", lambda: None)
    return asked


def test_a_tight_address_space_is_refused_before_ray_hangs_in_it(starts: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_500_000 * 1024, resource.RLIM_INFINITY))
    message = (
        r"^the address space of a process is limited to 1\.5 GB and Ray's processes reserve up to 3\.0 GB; .*ulimit -v unlimited.*--no-ray"
    )
    with pytest.raises(ResourceError, match=message), cluster.local_ray():
        pytest.fail("started")
    assert starts == []


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, cluster.MIN_ADDRESS_SPACE_BYTES])
def test_an_address_space_of_enough_is_not_refused(limit: int, starts: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    with cluster.local_ray(cpus=1):
        assert starts == [1]


@pytest.mark.parametrize(
    ("before", "gpus", "during"), [(None, [1], "1"), ("2,GPU-5fa1,7", [1, 2], "GPU-5fa1,7"), (None, None, None), ("3", None, "3")]
)
def test_a_local_ray_sees_only_the_gpus_that_it_may_use(
    before: str | None, gpus: list[int] | None, during: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's processes inherit the variable, and hand out every GPU that they see."""
    found: list[str | None] = []
    monkeypatch.setattr(cluster, "_start", lambda _cpus, _folder: found.append(os.environ.get("CUDA_VISIBLE_DEVICES")))
    monkeypatch.setattr(ray_process, "shutdown", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with cluster.local_ray(cpus=1, gpus=gpus):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == before, "this process keeps its own"
    assert found == [during]
