"""What a search tells Prometheus: true counts, and a dashboard that asks for nothing else. The real export: tests/cli/test_remote.py."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ray.util import metrics

from codenas.arch import Design
from codenas.metrics import Metrics
from codenas.search.candidate import Budget, Candidate, Failure, Refusal, Report
from codenas.search.fitness import Objective
from codenas.search.history import History
from tests.fakes import tiny_arch
from tests.search.synthetic import make_plan
from tune_jobs import telemetry
from tune_jobs.telemetry import INSTRUMENTS, GpuTelemetry, SearchTelemetry, front_size, trial_counts

OBJECTIVES = (Objective(metric="bits_per_byte", weight=1), Objective(metric="size_bytes"))
PLAN = make_plan(Budget(candidates=4, rungs=(5, 10), promote=(2,)), "random", objectives=OBJECTIVES)
DASHBOARD: dict[str, Any] = json.loads((Path(telemetry.__file__).parent / "grafana.json").read_text(encoding="utf-8"))


def _history() -> History:
    """Four at the first rung, of which the smallest and the best are on the front; one refused, one failed."""
    history = History()
    for index in range(6):
        history.propose(Candidate(index=index, design=Design(arch=tiny_arch(d_model=16 * (index + 1))), origin="random", seed=0))
    for index, (score, size) in enumerate(((3.0, 100), (2.5, 200), (2.6, 300), (2.7, 150))):
        metrics = Metrics(bits_per_byte=score, size_bytes=size)
        history.add_outcome(Report(index=index, rung=5, steps=5, metrics=metrics, seconds=1.0, checkpoint="x"))
    history.add_outcome(Refusal(index=4, reason="too large", metrics=Metrics()))
    history.add_outcome(Failure(index=5, rung=5, reason="diverged"))
    return history


def test_candidates_are_counted_per_rung_and_state() -> None:
    assert trial_counts(_history().trials, 5) == {(5, "trained"): 4, (5, "refused"): 1, (5, "failed"): 1}


def test_the_front_is_that_of_the_highest_rung_over_all_objectives() -> None:
    history = _history()
    assert front_size((), OBJECTIVES) == 0
    assert front_size(history.trials, OBJECTIVES) == 3
    history.add_outcome(Report(index=1, rung=10, steps=5, metrics=Metrics(bits_per_byte=2.0, size_bytes=200), seconds=1.0, checkpoint="x"))
    assert front_size(history.trials, OBJECTIVES) == 1


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    """What was set, or added up, by name and tags."""
    found: dict[tuple[str, ...], float] = {}

    def record(self: metrics.Metric, value: float, tags: dict[str, str]) -> None:
        key = (self.info["name"], *(tags[name] for name in self.info["tag_keys"]))
        found[key] = found.get(key, 0) + value if isinstance(self, metrics.Counter) else value

    monkeypatch.setattr(metrics.Metric, "_record", record)
    return found


def test_the_metrics_of_a_search_equal_its_history_and_are_labelled_by_run(recorded: dict[tuple[str, ...], float], tmp_path: Path) -> None:
    search, run = SearchTelemetry(PLAN, tmp_path / "search" / "checkpoints"), str(tmp_path)
    search.update(History(), 0, 0, None)
    assert recorded == {("codenas_planned_steps", run): 30, ("codenas_front_size", run): 0, ("codenas_done_steps", run): 0}
    search.update(_history(), 3, 3, None)
    search.process_died()
    recorded.pop(("codenas_best_bits_per_byte", run))  # as Ray does with a gauge
    search.update(_history(), 4, 7, 9.0)
    assert recorded[("codenas_training_steps", run)] == recorded[("codenas_done_steps", run)] == 7
    assert recorded[("codenas_left_seconds", run)] == 9.0
    assert recorded[("codenas_lost_processes", run)] == 1
    assert recorded[("codenas_best_bits_per_byte", run)] == 2.5
    assert recorded[("codenas_trials", run, "5", "failed")] == 1


@pytest.mark.parametrize("peak", [None, 5_000_000])
def test_gpu_memory_is_exported_if_there_is_a_gpu(
    peak: int | None, recorded: dict[tuple[str, ...], float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: peak is not None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: peak)
    GpuTelemetry(tmp_path / "search" / "checkpoints").update()
    assert recorded == ({} if peak is None else {("codenas_gpu_peak_memory_bytes", str(tmp_path)): peak})


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"\bray_\w+", expression)}
    assert names == {instrument.exported for instrument in INSTRUMENTS}
    assert all('{run=~"$run"}' in expression for expression in asked)


def test_the_dashboard_groups_and_labels_by_tags_that_there_are() -> None:
    of_ray = {"NodeAddress", "WorkerId"}
    tags = {instrument.exported: {*instrument.tags, *of_ray} for instrument in INSTRUMENTS}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            (name,) = re.findall(r"\bray_\w+", target["expr"])
            grouped = {label.strip() for group in re.findall(r"by \((.*?)\)", target["expr"]) for label in group.split(",")}
            assert grouped <= tags[name]
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_dashboards_query_counters_as_rates_or_sums() -> None:
    for instrument in INSTRUMENTS:
        (expression,) = [
            t["expr"] for p in DASHBOARD["panels"] for t in p["targets"] if re.search(rf"\b{instrument.exported}\b", t["expr"])
        ]
        assert expression.startswith("sum") == instrument.is_counter
