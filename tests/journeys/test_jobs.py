"""Every job file of the repository, by the command that its first lines name, shortened by `--set`."""

from pathlib import Path

import pytest

from codenas.cli.job_file import DEMO_JOB
from tests.cli.commands import shown
from tests.fakes import tiny_corpus
from tests.journeys.steps import finish, look, overridden, search

JOBS = sorted(DEMO_JOB.parent.glob("*.toml"))
SMALL_CORPUS = ("prepare.vocab_size=300", "prepare.valid_share=0.15", "prepare.test_share=0.15", "prepare.max_megabytes=2")


def test_there_is_a_journey_for_every_job() -> None:
    assert [job.stem for job in JOBS] == ["demo", "pypi-500mb", "record", "workstation"]


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("name", ["demo", "workstation"])
def test_a_job_leads_from_source_code_to_an_evaluated_model(name: str, source: Path, tmp_path: Path) -> None:
    job, corpus, run = DEMO_JOB.with_stem(name), tmp_path / "corpus", tmp_path / "run"
    shown("prepare", "--job", job, "--source", source, "--output", corpus, *overridden(SMALL_CORPUS))
    shown("corpus", "show", corpus)
    shown("corpus", "report", corpus)
    budget = ["search.budget={ candidates = 6, promote = [4] }"]
    search(run, corpus, "--job", job, "--no-ray", "--max-mb", "8", "--max-ms", "1000", overrides=budget)
    look(run)
    assert "Held-out repositories" in finish(run, "--job", job)


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("shared_ray")
def test_the_job_of_pinned_packages_prepares_any_other_source(source: Path, tmp_path: Path) -> None:
    """Its own source is 332 MB from a package index; what it says of filters, sizes and vocabularies is tried on another."""
    job = DEMO_JOB.with_stem("pypi-500mb")
    output = shown("prepare", "--job", job, "--source", source, "--output", tmp_path / "corpus", *overridden(SMALL_CORPUS))
    assert "bytes/token" in output


def test_the_job_of_a_table_records_one_that_strategies_are_replayed_on(tmp_path: Path) -> None:
    job, run = DEMO_JOB.with_stem("record"), tmp_path / "table"
    corpus = tiny_corpus(tmp_path / "corpus").path
    short = ["record.count=6", "record.scored=[1, 2]", "record.decayed=[2]", "record.sweeps=1", "record.score_tokens=512"]
    short += ["record.latency_tokens=4", "record.train.batch_size=1"]
    table = shown("search", "record", "--job", job, "--run", run, "--corpus", corpus, *overridden(short)).splitlines()[-1]
    options = "--strategy random,evolution --trained bits_per_byte@2 --static params,size_bytes --trainings 3 --seeds 2"
    assert "6 rows" in shown("search", "replay", table.removeprefix("table: "), *options.split())
