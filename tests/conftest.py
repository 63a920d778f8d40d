"""Fixtures for all tests: one loopback Ray per session, torch on one thread, properties checked on the same examples each time."""

import os
import subprocess
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

# Ray reads these when it is imported, which test modules do before any fixture runs.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] = "1"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import pytest
import torch
from hypothesis import settings

from codenas.log import LOGGER

settings.register_profile("deterministic", derandomize=True, database=None, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Path]:
    """A real Ray on 127.0.0.1 with two CPUs; the folder for what it throws away."""
    from tune_jobs.cluster.local import local_ray

    with local_ray(cpus=2) as scratch:
        yield scratch


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that runs in this process sends the log to the standard error that it finds, and that goes with the test."""
    yield
    LOGGER.handlers.clear()
    LOGGER.propagate = True


@pytest.fixture(autouse=True, scope="session")
def _no_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --fast, a test is skipped at the moment that it starts a process, and so at the start of a Ray."""
    with pytest.MonkeyPatch.context() as patched:
        if request.config.getoption("--fast"):
            for owner, name in ((subprocess.Popen, "__init__"), (BaseProcess, "start")):
                patched.setattr(owner, name, lambda *_, **__: pytest.skip("starts a process"))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="skip what starts a process or a Ray")
    parser.addoption("--pairs", type=int, default=10, help="pairs of options that are drawn for each command")
    parser.addoption("--pairs-seed", type=int, default=0, help="of the draw")
    parser.addoption("--designs", type=int, default=100, help="random designs that the native library decodes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: of two processes that share the files one would else be left alone with it at the end."""
    items.sort(key=lambda item: "smoke" not in item.path.parts)
