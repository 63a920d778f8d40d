"""Fixtures for all tests: one loopback Ray per session, torch on one thread."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real Ray on 127.0.0.1 with two CPUs."""
    from codenas.cli.cluster import local_ray

    with local_ray(cpus=2):
        yield
