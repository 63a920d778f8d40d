"""What most tests of the stage begin with: a small source, and a stream that needs no Ray."""

from pathlib import Path

import pytest
import ray

from data_prep import pipeline
from tests.data_prep.example_documents import plain_stream, write_source


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are worked on one after the other, in this process."""
    monkeypatch.setattr(pipeline, "_stream", plain_stream)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of parquet that no other test changes."""
    return write_source(tmp_path / "source")
