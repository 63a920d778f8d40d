"""The loader finds what is built and runnable, and says what to do where nothing is."""

from pathlib import Path

import pytest

import codenas.decode.native
from codenas.decode.native import library
from codenas.decode.native.library import available_targets, load_library
from codenas.errors import ConfigError
from tests.decode.native.models import needs_library


def test_without_a_built_library_the_error_says_how_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codenas.decode.native, "__path__", [str(tmp_path)])
    assert available_targets() == ()
    with pytest.raises(ConfigError, match="make native"):
        load_library()


@needs_library
def test_the_fastest_target_is_the_default_and_unknown_ones_are_refused() -> None:
    assert load_library() is load_library(available_targets()[0])
    assert available_targets()[-1] == "portable"
    with pytest.raises(ConfigError, match="'sse9' cannot run here; choose one of .*portable"):
        load_library("sse9")


@needs_library
def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "ABI_VERSION", library.ABI_VERSION + 1)
    with pytest.raises(ConfigError, match="build it again: make native"):
        library._load.__wrapped__("portable")
