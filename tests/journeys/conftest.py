"""What every journey sets out from: one Ray for all, which each command takes for its own, and a corpus that `prepare` made."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.commands import shown
from tests.data_prep.example_documents import documents, write_source
from tune_jobs.cluster import local


@contextlib.contextmanager
def _commands_on(ray_cluster: Path) -> Iterator[None]:
    """Commands of this block use the Ray that is up. Only this block: the same process also runs the tests of `local_ray`."""

    @contextlib.contextmanager
    def running(cpus: int | None = None, address: str | None = None, gpus: Sequence[int] | None = None) -> Iterator[Path]:
        assert address is None and not gpus
        yield ray_cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(local, "local_ray", running)
        yield


@pytest.fixture
def shared_ray(ray_cluster: Path) -> Iterator[None]:
    """A start of Ray takes seconds and hides nothing: `local_ray` has tests of its own."""
    with _commands_on(ray_cluster):
        yield


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet in The Stack's schema."""
    return write_source(tmp_path_factory.mktemp("source") / "stack", documents(repositories=30, files=4))


@pytest.fixture(scope="session")
def corpus(ray_cluster: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in three vocabularies, as `codenas prepare` makes it."""
    made = tmp_path_factory.mktemp("corpus") / "corpus"
    options = "--vocab-size 300 --vocabulary char --vocabulary bpe-280 --valid-share 0.15 --test-share 0.15"
    with _commands_on(ray_cluster):
        shown("prepare", "--source", source, "--output", made, *options.split())
    return made
