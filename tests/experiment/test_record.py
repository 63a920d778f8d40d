"""A recording: every architecture once, whatever interrupts it; its scores are those of a search."""

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from codenas.arch import SearchSpace
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.corpus import Corpus
from codenas.errors import ConfigError, RunError, TrialFailure
from codenas.experiment import record as recording
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.jobs import RecordJob
from codenas.experiment.record import draw_architectures, record, record_one
from codenas.experiment.rung import run_job
from codenas.search.actions import Job
from codenas.search.candidate import Candidate, Report
from codenas.search.replay.table import Row, read_lines
from codenas.train.config import TrainConfig
from tests.fakes import tiny_arch, tiny_corpus

JOB = RecordJob(
    space=SearchSpace(
        base=tiny_arch(),
        mixers=(RwkvSpec(head_width=16, rank=4, gate_rank=4),),
        choices={"pattern": (("attention",), ("rwkv7", "attention")), "norm": ("rmsnorm", "layernorm"), "storage": ("float16", "int8")},
    ),
    count=5,
    scored=(2, 4),
    decayed=(2,),
    decay=0.5,
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=1),
    score_tokens=320,
    latency_tokens=2,
    sweeps=2,
)
CLOCKS = {"train_seconds@2", "train_seconds@4"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def undisturbed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows(record(JOB, corpus, tmp_path_factory.mktemp("undisturbed")).rows)


def rows(path: Path) -> list[Row]:
    """The rows of a recording in the order of their architectures, without what a clock said."""
    found = [{name: value for name, value in row.items() if name not in CLOCKS} for row in read_lines(path)]
    return sorted(found, key=lambda row: str(row["digest"]))


def test_a_row_has_choices_closed_forms_and_scores(undisturbed: list[Row]) -> None:
    assert len({row["digest"] for row in undisturbed}) == 5
    for row in undisturbed:
        assert {"choice.pattern", "choice.norm", "choice.storage", "params", "body_params", "size_bytes", "decoding_flops"} <= row.keys()
        assert {name for name in row if name.startswith("bits")} == {"bits_per_byte@2", "bits_per_byte_decayed@2", "bits_per_byte@4"}
    assert {row["choice.pattern"] for row in undisturbed} == {"attention", "rwkv7+attention"}


def test_the_scores_are_those_of_a_search(corpus: Corpus, undisturbed: list[Row], tmp_path: Path) -> None:
    candidate = draw_architectures(JOB)[0]
    row = next(row for row in undisturbed if row["digest"] == candidate.design.digest)
    plain, branching = JOB.setup(corpus, tmp_path / "plain"), JOB.setup(corpus, tmp_path / "branching")
    reports = [run_job(plain, Job(candidate, 2)), run_job(plain, Job(candidate, 4))]
    reports.append(run_job(branching.model_copy(update={"scoring_steps": {2: 1}}), Job(candidate, 2)))
    names = ("bits_per_byte@2", "bits_per_byte@4", "bits_per_byte_decayed@2")
    assert [report.metrics.bits_per_byte for report in reports if isinstance(report, Report)] == [row[name] for name in names]
    assert isinstance(reports[0], Report)
    assert (reports[0].metrics.params, reports[0].metrics.size_bytes) == (row["params"], row["size_bytes"])


def test_an_interrupted_recording_continues_where_it_was(
    corpus: Corpus, undisturbed: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def interrupted(job: RecordJob, setup: ExperimentSetup, candidate: Candidate) -> Row:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(candidate.id)
        return record_one(job, setup, candidate)

    monkeypatch.setattr(recording, "record_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record(JOB, corpus, tmp_path)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"digest": "torn by a ki')
    assert not (tmp_path / "scratch").exists()
    monkeypatch.undo()
    assert rows(record(JOB, corpus, tmp_path).rows) == undisturbed


def test_more_architectures_and_sweeps_continue_in_the_same_table(corpus: Corpus, undisturbed: list[Row], tmp_path: Path) -> None:
    fewer = JOB.model_copy(update={"count": 3, "sweeps": 1})
    assert len(read_lines(record(fewer, corpus, tmp_path).latencies)) == 3
    home = record(JOB, corpus, tmp_path)
    assert rows(home.rows) == undisturbed
    assert len(read_lines(home.latencies)) == 2 * 5
    with pytest.raises(RunError, match="holds a search with another job"):
        record(JOB.model_copy(update={"seed": 1}), corpus, tmp_path)


def test_a_recording_of_an_earlier_version_continues(corpus: Corpus, undisturbed: list[Row], tmp_path: Path) -> None:
    """A key that has a default since is not in its claim."""
    record(JOB.model_copy(update={"count": 1, "sweeps": 1}), corpus, tmp_path)
    claim = tmp_path / "job.json"
    content = json.loads(claim.read_text())
    asked = json.loads(content["job"])
    del asked["train"]["label_smoothing"]
    claim.write_text(json.dumps({**content, "job": json.dumps(asked)}))
    assert rows(record(JOB.model_copy(update={"count": 2, "sweeps": 1}), corpus, tmp_path).rows) == [
        row for row in undisturbed if row["digest"] in {candidate.design.digest for candidate in draw_architectures(JOB)[:2]}
    ]
    claim.write_text(json.dumps({**content, "job": "nothing"}))
    with pytest.raises(RunError, match="holds a search with another job"):
        record(JOB, corpus, tmp_path)


def test_workers_find_the_same(corpus: Corpus, undisturbed: list[Row], tmp_path: Path) -> None:
    assert rows(record(JOB, corpus, tmp_path, workers=2).rows) == undisturbed


def test_the_lowest_latency_is_used(corpus: Corpus, tmp_path: Path) -> None:
    home = record(JOB.model_copy(update={"count": 2, "sweeps": 1}), corpus, tmp_path)
    line = read_lines(home.latencies)[0]
    with home.latencies.open("a") as file:
        file.writelines(json.dumps({**line, "latency_ms_p50": value}) + "\n" for value in (1e-6, 99.0))
    record(JOB.model_copy(update={"count": 2, "sweeps": 1}), corpus, tmp_path)
    assert parquet.read_table(home.table).column("latency_ms_p50").to_pylist()[0] == 1e-6


def test_a_training_that_fails_is_a_row_with_its_reason(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise TrialFailure("diverged")

    monkeypatch.setattr(recording, "score_stored", fail)
    row = record_one(JOB, JOB.setup(corpus, tmp_path), draw_architectures(JOB)[0])
    assert row["failure"] == "diverged" and "params" in row and "bits_per_byte@4" not in row


def test_a_space_that_is_too_small_is_refused_before_anything_is_trained(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the space holds 8 architectures only; a count of 9 is too many"):
        record(JOB.model_copy(update={"count": 9}), corpus, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [(4, 2), (0,), (2, 2)])
def test_steps_that_do_not_rise_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive and rise"):
        RecordJob(scored=steps)


def test_latencies_of_another_device_are_not_mixed_with_these(corpus: Corpus, tmp_path: Path) -> None:
    """As where a recording is copied to another machine: the lowest of both would be that of the faster one."""
    job = JOB.model_copy(update={"count": 2, "sweeps": 1})
    home = record(job, corpus, tmp_path)
    lines = [line | {"latency_context.device": "H200"} for line in read_lines(home.latencies)]
    home.latencies.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert record(job, corpus, tmp_path) == home, "nothing is left to be measured"
    with pytest.raises(RunError, match=r"were measured on H200, 1 thread, .*, this is .*, and the two are not comparable; .* remove"):
        record(job.model_copy(update={"sweeps": 2}), corpus, tmp_path)
    assert len(read_lines(home.latencies)) == 2
