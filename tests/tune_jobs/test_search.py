"""The search on a real Ray: the schedule of the loop without Ray, whatever is killed."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from codenas.arch import SearchSpace
from codenas.corpus import Corpus
from codenas.errors import BudgetError, ResourceError, RunError, UserError
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.experiment.rung import run_job
from codenas.log import Progress
from codenas.search.candidate import Budget, Trial
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.loop import run_search
from codenas.train.config import TrainConfig
from tests.fakes import small_disk, tiny_arch, tiny_corpus
from tests.search.synthetic import next_job
from tune_jobs import launch
from tune_jobs.launch import search
from tune_jobs.searcher import PlanSearcher
from tune_jobs.trainable import JobTrainable

SPACE = SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16, 24, 32), "n_layers": (1, 2), "norm": ("rmsnorm", "layernorm")})
OBJECTIVES = (
    Objective(metric="bits_per_byte", weight=1.0),
    Objective(metric="size_bytes", limit=10e6),
    Objective(metric="latency_ms_p50", limit=1000.0),
)
JOB = SearchJob(
    space=SPACE,
    budget=Budget(candidates=6, rungs=(4, 12), promote=(2,)),
    objectives=OBJECTIVES,
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=2),
    trial=TrialResources(score_tokens=256, latency_tokens=4),
)
STEPS = 6 * 4 + 2 * 8

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def expected(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What the loop without Ray finds."""
    return _found_without_ray(JOB, corpus, tmp_path_factory.mktemp("loop"))


def _found_without_ray(search_job: SearchJob, corpus: Corpus, folder: Path) -> list[tuple[object, ...]]:
    setup = search_job.setup(corpus, folder)
    return _essence(run_search(search_job.plan(corpus.manifest.vocab_size), History(), lambda job: run_job(setup, job)).trials)


def _essence(trials: tuple[Trial, ...]) -> list[tuple[object, ...]]:
    """All of a history that does not depend on the clock."""
    return [
        (
            trial.candidate,
            sorted((report.rung, report.steps, report.metrics.bits_per_byte, report.metrics.size_bytes) for report in trial.reports),
        )
        for trial in trials
    ]


def test_ray_walks_through_the_plan_of_the_loop(ray_cluster: Path, corpus: Corpus, expected: list[object], tmp_path: Path) -> None:
    result, history = search(JOB, corpus, tmp_path, ray_cluster)
    assert _essence(history.trials) == expected
    assert (result.steps, result.trained, result.refused, result.failed) == (STEPS, 6, 0, 0)
    assert 0 < result.training_share <= 1
    assert result.fidelity[0].trials == 2
    assert result.winner in result.finalists


def test_a_finished_search_is_not_repeated(ray_cluster: Path, corpus: Corpus, tmp_path: Path) -> None:
    first, _ = search(JOB, corpus, tmp_path, ray_cluster)
    lines = (tmp_path / "trials.jsonl").read_bytes()
    assert search(JOB, corpus, tmp_path, ray_cluster)[0] == first
    assert (tmp_path / "trials.jsonl").read_bytes() == lines


def test_a_search_continues_where_its_history_ends(ray_cluster: Path, corpus: Corpus, expected: list[object], tmp_path: Path) -> None:
    search(JOB, corpus, tmp_path, ray_cluster)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_text("".join(lines[:7]) + lines[7][:20])  # the driver was killed while it wrote the eighth event
    (tmp_path / "result.json").unlink()
    result, history = search(JOB, corpus, tmp_path, ray_cluster)
    assert _essence(history.trials) == expected
    assert result.steps == STEPS
    rungs = [(event["index"], event["rung"]) for event in _events(tmp_path) if event["event"] == "report"]
    assert len(rungs) == len(set(rungs)), "a finished rung was reported twice"


def _events(folder: Path) -> list[dict[str, object]]:
    events = []
    for line in (folder / "trials.jsonl").read_text().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def test_a_killed_trial_process_changes_nothing_and_is_reported_in_a_line(
    ray_cluster: Path, corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # A second or two for each job: killed is a process that is at work, not one that another search left behind.
    longer = JOB.model_copy(update={"budget": Budget(candidates=3, rungs=(100, 200), promote=(1,))})
    killed: list[int] = []
    stop = threading.Event()

    def kill_the_first_trial() -> None:
        while not killed and not stop.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # others come and go
                    # Ray names a process by what it does.
                    if not killed and "Trainable.train" in process.name() + " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)

    killer = threading.Thread(target=kill_the_first_trial)
    killer.start()
    try:
        _, history = search(longer, corpus, tmp_path / "ray", ray_cluster)
    finally:
        stop.set()
        killer.join()
    assert killed, "no trial process was seen"
    assert _essence(history.trials) == _found_without_ray(longer, corpus, tmp_path / "loop")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings and all("its process died; retrying from its last stored rung" in line for line in warnings)
    assert "died" not in "".join(capfd.readouterr()), "Ray told it too"


def test_a_folder_of_another_search_is_refused(ray_cluster: Path, corpus: Corpus, tmp_path: Path) -> None:
    search(JOB, corpus, tmp_path, ray_cluster)
    with pytest.raises(RunError, match="another job or another corpus"):
        search(JOB.model_copy(update={"seed": 1}), corpus, tmp_path, ray_cluster)


def test_a_limit_that_nothing_can_meet_names_the_nearest(ray_cluster: Path, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        BudgetError, match=r"nearest in .* draws \(d_model 8, 1 layers\) size_bytes .* MB is outside its limit, at most 0.0001 MB"
    ):
        search(JOB.with_limits({"size_bytes": 100}), corpus, tmp_path, ray_cluster)
    with pytest.raises(BudgetError, match=r"of the nearest \(d_model .*\) latency_ms_p50 .* at most 1e-06"):
        search(JOB.with_limits({"latency_ms_p50": 1e-6}), corpus, tmp_path / "slow", ray_cluster)


def test_more_than_the_cluster_has_is_refused(ray_cluster: Path, corpus: Corpus, tmp_path: Path) -> None:
    greedy = JOB.model_copy(update={"trial": TrialResources(cpus=64)})
    with pytest.raises(ResourceError, match="64 CPUs.*the cluster has 2 CPUs"):
        search(greedy, corpus, tmp_path, ray_cluster)


def wide(d_model: int) -> SearchJob:
    space = SearchSpace(base=tiny_arch(d_model=d_model), choices={"n_layers": (3, 4)})
    return JOB.model_copy(update={"space": space, "objectives": OBJECTIVES[:1]})


def test_a_disk_too_small_for_the_designs_of_the_space_is_refused_at_the_start(
    ray_cluster: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "DISK_MEGABYTES", 0)
    with (
        small_disk(tmp_path / "disk", kilobytes=40_000) as disk,
        pytest.raises(ResourceError, match=rf"{disk}/search has \d+ MB free and this work needs \d{{3,}} MB; free some space"),
    ):
        search(wide(512), corpus, disk / "search", ray_cluster)


def test_what_a_search_needs_on_the_disk_follows_from_its_space_and_what_is_there(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "DISK_MEGABYTES", 0)

    def needed(job: SearchJob, workers: int = 2) -> int:
        return launch.disk_megabytes(job, job.plan(corpus.manifest.vocab_size), workers, tmp_path)

    small = needed(wide(512))
    assert needed(wide(1024)) > 3 * small
    assert 1.3 * small < needed(wide(512), workers=4) < 2 * small  # two are promoted
    (tmp_path / "state").write_bytes(bytes(10_000_000))
    assert needed(wide(512)) == small - 10


def test_a_disk_that_fills_up_in_the_search_is_one_line_and_the_search_continues_later(
    ray_cluster: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tune_jobs.launch.disk_megabytes", lambda *_: 0)  # what was free when the search began
    written, fit = list[Path](), launch._run_tune

    def seen(*arguments: Any) -> None:
        written.append(arguments[-1])
        fit(*arguments)

    monkeypatch.setattr(launch, "_run_tune", seen)
    with small_disk(tmp_path / "disk", kilobytes=400) as disk:
        with pytest.raises(UserError, match=rf"cannot write {disk}/.*: no space is left .*; free some space"):
            search(JOB, corpus, disk / "search", ray_cluster)
        assert "Traceback" not in "".join(capfd.readouterr())
        assert not (disk / "search" / "result.json").exists()
        shutil.copytree(disk, tmp_path / "larger")
    result, _ = search(JOB, corpus, tmp_path / "larger" / "search", ray_cluster)
    assert result.steps == STEPS
    assert set(written) == {ray_cluster / "tune"}, "Tune writes on the disk that is full, and fails in its own words"
    assert not (ray_cluster / "tune").exists()


def test_a_history_that_cannot_be_written_ends_the_search_not_tune(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, history = JOB.plan(corpus.manifest.vocab_size), History()
    searcher = PlanSearcher(plan, history, JOB.setup(corpus, tmp_path), Progress("search", STEPS), retries=0)
    assert searcher.suggest("first")

    def full(_: object) -> None:
        raise ResourceError("no space is left")

    monkeypatch.setattr(history, "add_outcome", full)
    searcher.on_trial_complete("first", error=True)
    assert isinstance(searcher.error, ResourceError)
    assert searcher.suggest("second") == PlanSearcher.FINISHED


def test_a_job_whose_process_died_is_retried_until_its_retries_are_used_up(corpus: Corpus, tmp_path: Path) -> None:
    plan, history = JOB.plan(corpus.manifest.vocab_size), History()
    searcher = PlanSearcher(plan, history, JOB.setup(corpus, tmp_path), Progress("search", STEPS), retries=2)
    first = searcher.suggest("0")
    for attempt in range(3):
        other = searcher.suggest(f"other {attempt}")
        assert other != first
        searcher.on_trial_complete(str(attempt), error=True)
        if attempt < 2:
            assert searcher.suggest(str(attempt + 1)) == first
    assert [trial.failure.reason for trial in history.trials if trial.failure] == ["its process died 3 times"]
    assert searcher.error is None


def test_a_fault_of_the_program_is_a_failure_with_its_reason(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, list[None]] = {}

    def faulty(*_: object) -> Iterator[None]:
        yield from nothing["key"]

    monkeypatch.setattr("tune_jobs.trainable.execute", faulty)
    job = next_job(JOB.plan(corpus.manifest.vocab_size), History())
    assert job is not None
    config = {"candidate": job.candidate.model_dump_json(), "rung": 2, "setup": JOB.setup(corpus, tmp_path).model_dump_json()}
    result = JobTrainable(config).step()
    assert result["done"] and json.loads(result["outcome"])["reason"] == "KeyError: 'key'"
