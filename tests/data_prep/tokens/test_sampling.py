"""Sampling on a real Ray."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from codenas.errors import ResourceError
from codenas.vocab.sampling.details import sample_details
from codenas.vocab.sampling.draws import SamplingSettings
from codenas.vocab.sampling.statistics import Part, Run, SampleStats, plan, sample
from data_prep.tokens import sampling as token_stats
from data_prep.tokens.sampling import sample_on_ray
from data_prep.tokens.texts import Texts
from tests.vocab.texts import code_like

SETTINGS = SamplingSettings(draws=24, min_size=420, max_size=700, size_std=60, texts=64)
TEXTS = {name: Texts(pa.chunked_array([pa.array(code_like(seed, 90), pa.large_string())])) for seed, name in enumerate(("Go", "Python"))}
WEIGHTS = {"Go": 1.0, "Python": 1.0}


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_cluster_finds_what_one_process_finds(workers: int) -> None:
    here, there = SampleStats(), SampleStats()
    for part in sample_on_ray(plan(SETTINGS, WEIGHTS, workers), TEXTS, SETTINGS):
        there.add(part)
    for run in plan(SETTINGS, WEIGHTS, 1):
        for part in sample(run, TEXTS[run.language], SETTINGS):
            here.add(part)
    assert sample_details(there, SETTINGS, "") == sample_details(here, SETTINGS, "")


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_is_killed_once_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(run: Run, texts: Sequence[str], settings: SamplingSettings) -> Iterator[Part]:
        yield Part(run.language, draws=1)
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield Part(run.language, draws=2)

    monkeypatch.setattr(token_stats, "sample", killed)
    assert sum(part.draws for part in sample_on_ray([Run("Go", 0, 3)], TEXTS, SETTINGS)) == 3


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_die_again_and_again_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(run: Run, texts: Sequence[str], settings: SamplingSettings) -> Iterator[Part]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield Part(run.language)

    monkeypatch.setattr(token_stats, "sample", killed)
    with pytest.raises(ResourceError, match="a worker of the sampling died .*; free some memory, or ask for fewer --workers"):
        list(sample_on_ray([Run("Go", 0, 3)], TEXTS, SETTINGS))


def test_without_ray_an_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ResourceError, match="sampling needs a running Ray"):
        next(sample_on_ray([], TEXTS, SETTINGS))
