"""The main job from source to answer, undisturbed and killed in every stage: the same result, nothing twice, nothing left."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from codenas.stats.pareto import front
from tests.data_prep.example_documents import documents, write_source
from tests.smoke.demos import JOB, Demo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
LAST_RUNG = 90
STEPS = 5 * 30 + 2 * 60


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    source = write_source(folder / "stack", documents(repositories=30, files=4))
    path = folder / "job.toml"
    path.write_text(JOB.format(source=json.dumps(str(source))))
    return path


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    demo = Demo.start(tmp_path_factory.mktemp("run") / "undisturbed", job)
    listeners: set[str] = set()
    demo.until(lambda demo: demo.reports(30) > 0)
    listeners |= demo.listeners()
    demo.until(lambda demo: "=== serve" in demo.log() and "completion 1" in demo.log())
    listeners |= demo.listeners()
    demo.finish()
    assert listeners <= LOOPBACK, listeners
    return demo


def _summary(demo: Demo) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((demo.folder / "summary.json").read_text())
    return summary


def _essence(demo: Demo) -> dict[str, Any]:
    """All of a summary and a history that does not depend on a clock."""
    summary = _summary(demo)
    search = {key: summary["search"][key] for key in ("winner", "finalists", "steps", "trained", "refused", "failed", "fidelity")}
    results = summary["evaluation"]["results"]
    evaluation = [summary["evaluation"]["weights_sha256"], *(results[name]["result"] for name in ("bits_per_byte", "completions"))]
    quality = summary["model"]["metrics"]["bits_per_byte"]
    answers = [(answer["prompt"], answer["completion"]) for answer in summary["answers"]]
    return {
        "corpus": summary["corpus"], "search": search, "evaluation": evaluation, "quality": quality, "answers": answers,
        "reports": _reports(demo), "front": _front_without_latency(demo),
    }  # fmt: skip


def _reports(demo: Demo) -> list[tuple[Any, ...]]:
    """Quality and size of every candidate at every rung that it reached."""
    events = [event for event in demo.events() if event["event"] == "report"]
    return sorted((event["index"], event["rung"], event["metrics"]["bits_per_byte"], event["metrics"]["size_bytes"]) for event in events)


def _front_without_latency(demo: Demo) -> list[tuple[Any, ...]]:
    """The members of the front that are on it whatever their latency, which differs from run to run."""
    members = _summary(demo)["front"]
    points = [(member["metrics"]["bits_per_byte"], member["metrics"]["size_bytes"]) for member in members]
    return [(members[i]["id"], members[i]["winner"], *points[i]) for i in front(points)]


def _front_by_the_history(demo: Demo) -> set[str]:
    """The candidates that no other dominates in quality, size and the latency that this run has measured, and the winner."""
    metrics = {event["index"]: event["metrics"] for event in demo.events() if event["event"] == "report" and event["rung"] == LAST_RUNG}
    points = [(each["bits_per_byte"], each["size_bytes"], each["latency_ms_p50"]) for each in metrics.values()]
    undominated = {list(metrics)[i] for i in front(points)}
    return {f"c{index:03d}" for index in undominated | {_summary(demo)["search"]["winner"]}}


def test_the_demo_tells_the_whole_story(undisturbed: Demo) -> None:
    summary, log = _summary(undisturbed), undisturbed.log()
    assert summary["search"]["steps"] == STEPS
    assert f"{STEPS:,} steps" in log or f"{STEPS} steps" in log
    assert (undisturbed.folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert all((undisturbed.folder / name).is_file() for name in ("report.html", "report.json"))
    results = summary["evaluation"]["results"]
    assert {"zlib", "xz"} <= results["bits_per_byte"]["result"]["compressors"].keys()
    assert results["completions"]["result"]["completions"]["prompts"] == 4
    assert summary["answers"] and all(answer["tokens"] > 0 for answer in summary["answers"])
    assert "codenas serve --run" in log
    assert all(f"=== {stage}" in log for stage in ("prepare", "search", "train", "evaluate", "serve"))


def test_killed_in_every_stage_it_ends_as_if_nothing_had_been(undisturbed: Demo, job: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    demo = Demo.start(folder, job)
    demo.until(lambda demo: "=== prepare" in demo.log())
    demo.end(signal.SIGINT)
    assert demo.process.returncode == 130
    assert "Traceback" not in demo.log()

    demo = Demo.start(folder, job)
    demo.until(lambda demo: demo.reports(30) >= 1 and bool(demo.trial_processes()))
    demo.trial_processes()[0].send_signal(signal.SIGKILL)
    demo.until(lambda demo: demo.reports(30) >= 3)
    demo.end(signal.SIGKILL)

    demo = Demo.start(folder, job)
    demo.until(lambda demo: demo.reports(90) >= 1)
    demo.end(signal.SIGINT)

    demo = Demo.start(folder, job)
    demo.until(lambda demo: (folder / "last" / "manifest.json").exists())
    demo.end(signal.SIGKILL)

    demo = Demo.start(folder, job)
    demo.finish()
    assert _essence(demo) == _essence(undisturbed)
    for each in (demo, undisturbed):
        assert {member["id"] for member in _summary(each)["front"]} == _front_by_the_history(each)
    rungs = [(event["index"], event["rung"]) for event in demo.events() if event["event"] == "report"]
    assert len(rungs) == len(set(rungs)) == 7
    assert demo.log().count("tokenise:") >= 1
    assert "corpus is ready" in demo.log()


def test_a_finished_demo_only_serves_again(undisturbed: Demo, job: Path) -> None:
    before, history = _essence(undisturbed), undisturbed.events()
    again = Demo.start(undisturbed.folder, job)
    again.finish()
    assert _essence(again) == before
    assert again.events() == history
