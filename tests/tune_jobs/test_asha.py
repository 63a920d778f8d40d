"""Ray's stopping ASHA: its rungs are those of the budget, its state is rebuilt from the history, and no rung is trained twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from codenas.corpus import Corpus
from codenas.errors import ConfigError
from codenas.experiment.jobs import SearchJob
from codenas.experiment.local import search_locally
from codenas.log import Progress
from codenas.metrics import Metrics
from codenas.report.status import progress_line, rung_statuses
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Failure, Report
from codenas.search.fitness import Objective
from codenas.search.history import History
from tests.fakes import tiny_corpus
from tests.search.synthetic import next_job
from tests.tune_jobs.test_search import JOB as PROMOTION
from tune_jobs.asha import AshaSearcher, MultiRungTrainable, asha
from tune_jobs.launch import search

RUNGS = (4, 12)
BUDGET = Budget(candidates=6, rungs=RUNGS, promote=(2,))
JOB = SearchJob.model_validate({**PROMOTION.model_dump(), "budget": BUDGET, "scheduler": "asha"})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def report(index: int, rung: int, bits: float) -> Report:
    return Report(
        index=index,
        rung=rung,
        steps=rung,
        metrics=Metrics(bits_per_byte=bits, latency_ms_p50=1.0),
        seconds=1.0,
        checkpoint=f"c{index:03d}/{rung}",
    )


def history(corpus: Corpus, *outcomes: Report | Failure) -> History:
    """Six candidates, and what became of them in this order."""
    made, plan = History(), JOB.plan(corpus.manifest.vocab_size)
    running = list[Job]()
    proposing = next_job(plan, made, running)
    while proposing is not None and len(made) < 5:
        running.append(proposing)
        proposing = next_job(plan, made, running)
    for outcome in outcomes:
        made.add_outcome(outcome)
    return made


@pytest.mark.parametrize(
    ("rungs", "promote"), [((50, 300), (6,)), ((20, 60, 180), (6, 3)), ((1, 10, 100, 1_000), (6, 3, 1)), ((3, 375), (2,))]
)
def test_the_milestones_are_the_rungs_of_the_budget(rungs: tuple[int, ...], promote: tuple[int, ...]) -> None:
    """How Ray places them is its own affair (a developer API): a new version that moves them must fail here."""
    scheduler, climbing = asha(Budget(candidates=24, rungs=rungs, promote=promote), History())
    assert [round(milestone, 6) for milestone, _ in scheduler._brackets[0]._rungs] == list(reversed(rungs))
    assert not climbing


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"budget": {"rungs": (50, 100, 300), "promote": (6, 3)}}, r"grow by one whole factor.*rungs \[50, 100, 300\] do not"),
        ({"budget": {"rungs": (50, 125)}}, r"rungs \[50, 125\] do not"),
        ({"budget": {"rungs": (50,), "promote": ()}}, r"rungs \[50\] do not"),
        ({"budget": {"least": (2,)}}, r"leave least \[2\] out"),
        ({"budget": {"repeats": 2}}, "leave repeats 2 out"),
        (
            {"objectives": (Objective(metric="bits_per_byte", weight=1), Objective(metric="params", weight=1))},
            "compares one metric.*, params",
        ),
        ({"scheduler": "hyperband"}, "scheduler"),
    ],
)
def test_what_asha_cannot_say_is_refused(values: dict[str, object], message: str) -> None:
    alone = (Objective(metric="bits_per_byte", weight=1),)
    with pytest.raises(ValidationError, match=message):
        SearchJob.model_validate({"scheduler": "asha", "objectives": alone, **values})


def test_without_ray_it_is_refused_in_one_line(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="scheduler asha is Ray's own; leave --no-ray out, or search with scheduler"):
        search_locally(JOB, corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_the_state_is_rebuilt_in_the_order_of_the_reports(corpus: Corpus) -> None:
    """The first at a rung goes on, whatever it scored; who comes later only if it is among the best third of those before it."""
    first_is_bad = history(corpus, report(1, 4, 9.0), report(0, 4, 3.0), report(2, 4, 8.0), report(3, 4, 2.0))
    _, climbing = asha(BUDGET, first_is_bad)
    assert [(job.candidate.index, job.rung) for job in climbing] == [(1, 12), (0, 12), (3, 12)]
    first_is_good = history(corpus, report(3, 4, 2.0), report(0, 4, 3.0), report(2, 4, 8.0), report(1, 4, 9.0))
    assert [job.candidate.index for job in asha(BUDGET, first_is_good)[1]] == [3]


def test_finished_and_failed_candidates_are_not_trained_again(corpus: Corpus) -> None:
    through = history(corpus, report(0, 4, 3.0), report(0, 12, 2.0), report(1, 4, 2.5), Failure(index=1, rung=12, reason="diverged"))
    assert asha(BUDGET, through)[1] == []


def test_a_rung_that_was_reported_twice_is_listed_once(corpus: Corpus) -> None:
    assert [each.index for each in history(corpus, report(1, 4, 9.0), report(0, 4, 3.0), report(1, 4, 8.0)).reports] == [1, 0]


def test_an_asha_trial_whose_process_died_resumes_from_its_last_rung(corpus: Corpus, tmp_path: Path) -> None:
    plan, made = JOB.plan(corpus.manifest.vocab_size), History()
    searcher = AshaSearcher(plan, made, JOB.setup(corpus, tmp_path), Progress("search", 0), 1, frozenset, ())
    suggested = searcher.suggest("a")
    assert isinstance(suggested, dict) and (suggested["rung"], suggested["rungs"]) == (4, [4, 12])
    result = {"steps": 4, "step_seconds": 0.1, "outcome": report(0, 4, 3.0).model_dump_json()}
    searcher.on_trial_result("a", result)
    searcher.on_trial_complete("a", error=True)
    again = searcher.suggest("b")
    assert isinstance(again, dict) and (again["rung"], again["rungs"]) == (12, [12])
    assert again["candidate"] == suggested["candidate"]
    assert [each.rung for each in made.reports] == [4]


def test_an_asha_trial_reports_each_rung_and_ends_at_the_last(corpus: Corpus, tmp_path: Path) -> None:
    plan, made = JOB.plan(corpus.manifest.vocab_size), History()
    searcher = AshaSearcher(plan, made, JOB.setup(corpus, tmp_path), Progress("search", 0), 0, frozenset, ())
    suggested = searcher.suggest("a")
    assert isinstance(suggested, dict)
    trial, results = MultiRungTrainable(suggested), list[dict[str, Any]]()
    while not results or not results[-1]["done"]:
        results.append(trial.step())
        if not results[-1]["done"]:
            searcher.on_trial_result("a", results[-1])
    searcher.on_trial_complete("a", results[-1])
    assert [result["rung"] for result in results if "rung" in result] == [4, 12]
    assert [(each.rung, each.steps) for each in made.reports] == [(4, 4), (12, 8)]
    assert searcher.steps == 12 and searcher.error is None
    assert all("bits_per_byte" in result for result in results if "rung" in result)


def test_its_steps_are_shown_as_an_upper_bound(corpus: Corpus) -> None:
    begun = history(corpus, report(0, 4, 3.0))
    assert progress_line(begun.trials, JOB, False, None).startswith("4 of at most 72 steps")
    assert [(rung.planned, rung.bound_only, len(rung.pending) > 0) for rung in rung_statuses(begun.trials, JOB)] == [
        (6, False, True),
        (6, True, False),
    ]


@pytest.mark.cluster
def test_a_search_on_ray_ends_and_continues_where_it_was_without_training_a_rung_twice(
    ray_cluster: Path, corpus: Corpus, tmp_path: Path
) -> None:
    result, found = search(JOB, corpus, tmp_path, ray_cluster)
    assert result.trained == 6 and 6 * 4 + 8 <= result.steps <= 6 * 12
    assert result.winner in result.finalists
    assert {trial.candidate.index for trial in found.trials if trial.report(12)} == set(result.finalists)
    assert found.reports[0].index in result.finalists, "the first at a rung goes on"

    lines = (tmp_path / "trials.jsonl").read_text().splitlines(keepends=True)
    kept = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == "report") + 2
    (tmp_path / "trials.jsonl").write_text("".join(lines[:kept]) + lines[kept][:20])  # killed while it wrote the next event
    (tmp_path / "result.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").glob("*/*/model.safetensors")}
    again, history_again = search(JOB, corpus, tmp_path, ray_cluster)
    assert again.trained == 6 and again.winner in again.finalists
    assert history_again.reports[:1] == found.reports[:1]
    reached = [(each.index, each.rung) for each in history_again.reports]
    assert len(reached) == len(set(reached))
    assert all(path.stat().st_mtime_ns == when for path, when in before.items()), "a stored rung was trained again"
