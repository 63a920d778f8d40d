"""Finalists that are trained again, for real: the same on Ray and without, after any interruption."""

import itertools
import json
from pathlib import Path

import pytest

from codenas.arch import SearchSpace
from codenas.checkpoint import TRAINING
from codenas.corpus import Corpus
from codenas.experiment.jobs import SearchJob, TrainJob, TrialResources
from codenas.experiment.local import search_locally
from codenas.experiment.run import Run
from codenas.experiment.rung import run_job
from codenas.experiment.winner import train_winner
from codenas.log import Progress
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Candidate
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.result import SearchFolder, SearchResult
from codenas.train.config import TrainConfig
from tests.cli.commands import shown
from tests.fakes import SMALL_SEARCH, tiny_arch, tiny_corpus
from tune_jobs.searcher import PlanSearcher

JOB = SearchJob(
    space=SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16, 24), "norm": ("rmsnorm", "layernorm")}),
    budget=Budget(candidates=4, rungs=(2, 4), promote=(3,), repeats=2, repeated=2),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=1),
    trial=TrialResources(score_tokens=64, latency_tokens=2),
)
STEPS = 4 * 2 + 3 * 2 + 2 * 2 * 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search without Ray."""
    path = tmp_path_factory.mktemp("run") / "search"
    search_locally(JOB, corpus, path)
    return path


def essence(result: SearchResult, history: History) -> list[object]:
    """All that does not depend on the clock."""
    scores = [[(each.rung, each.repeat, each.steps, each.metrics.bits_per_byte) for each in trial.all_reports] for trial in history.trials]
    return [result.winner, result.finalists, result.repeated, result.ties, result.steps, result.repeats, scores]


def found(folder: Path) -> list[object]:
    finished = SearchFolder(folder).finished()
    assert finished is not None
    return essence(*finished)


def test_the_best_are_repeated_and_counted(folder: Path) -> None:
    finished = SearchFolder(folder).finished()
    assert finished is not None
    result, history = finished
    assert (result.steps, result.repeats, len(result.repeated)) == (STEPS, 4, 2) and JOB.budget.total_steps == STEPS
    assert set(result.ties) < set(result.repeated) <= set(result.finalists) and result.winner == result.repeated[0]
    for index in result.repeated:
        assert len({report.metrics.bits_per_byte for report in history.trials[index].trainings(4)}) == 3
    states = [path.parent for path in folder.glob(f"checkpoints/*/*/{TRAINING}")]
    winner = history.trials[result.winner]
    assert states == [folder / "checkpoints" / winner.candidate.id / "4"], "training goes on from the first seed, and from nothing else"


@pytest.mark.parametrize("kept", [-1, -2, -4, -6])
def test_an_interrupted_search_ends_the_same(kept: int, folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    search_locally(JOB, corpus, tmp_path / "search")
    trials = tmp_path / "search" / "trials.jsonl"
    trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:kept]) + '{"event":"rep')
    (tmp_path / "search" / "result.json").unlink()
    assert essence(*search_locally(JOB, corpus, tmp_path / "search")) == found(folder)
    events = [json.loads(line) for line in trials.read_text().splitlines() if line.endswith("}")]
    reported = [(event["index"], event["rung"], event["repeat"]) for event in events if event["event"] == "report"]
    assert len(reported) == len(set(reported)), "nothing is reported twice"


def test_what_tune_asks_for_is_the_same_and_repeats_of_one_candidate_run_beside_each_other(
    folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """Two workers and no Ray: whoever began first is always the last to finish."""
    plan, history, setup = JOB.plan(corpus.manifest.vocab_size), History(), JOB.setup(corpus, tmp_path)
    searcher = PlanSearcher(plan, history, setup, Progress("search", STEPS), retries=0)
    at_work: list[tuple[str, Job]] = []
    beside = set[str]()
    for number in itertools.count():
        asked = searcher.suggest(str(number)) if len(at_work) < 2 else None
        if isinstance(asked, dict):
            at_work.append((str(number), Job(Candidate.model_validate_json(asked["candidate"]), asked["rung"])))
            beside |= {"+".join(sorted(job.candidate.id for _, job in at_work))}
        elif at_work:
            trial, job = at_work.pop()
            outcome = run_job(setup, job).model_dump_json()
            searcher.on_trial_complete(trial, {"steps": 0, "step_seconds": 0.0, "outcome": outcome})
        else:
            break
    assert asked == PlanSearcher.FINISHED and searcher.error is None
    assert any(".1+" in pair and pair.endswith(".2") for pair in beside)
    scores = [[(each.rung, each.repeat, each.steps, each.metrics.bits_per_byte) for each in trial.all_reports] for trial in history.trials]
    assert scores == found(folder)[-1]


@pytest.mark.cluster
def test_on_ray_the_same_are_repeated(ray_cluster: Path, folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    from tune_jobs.launch import search

    assert essence(*search(JOB, corpus, tmp_path, ray_cluster)) == found(folder)


def test_the_command_tells_means_and_ties_and_training_continues_from_the_first_seed(tmp_path: Path) -> None:
    corpus, run, job = tiny_corpus(tmp_path / "corpus").path, tmp_path / "run", tmp_path / "job.toml"
    job.write_text(SMALL_SEARCH.replace("promote = [1]", "promote = [2], repeats = 1"))
    output = shown("search", "--no-ray", "--run", run, "--corpus", corpus, "--job", job)
    result = SearchFolder(run / "search").result()
    assert result is not None and (result.repeats, len(result.repeated)) == (2, 2)
    assert " ± " in output and "seeds" in output and "2 repeats with other seeds" in output
    assert ("not significantly better than" in output) == bool(result.ties) and "Student's t" in output
    assert "with other seeds" in shown("status", run) and "Student's t" in shown("status", run)
    again = shown("search", "--no-ray", "--run", run, "--job", job)
    assert again[again.index("Pareto front") :] == output[output.index("Pareto front") :], "a finished search shows what it found"
    checkpoint = train_winner(Run(run), TrainJob(steps=6, threads=1))
    assert checkpoint.manifest.step == 6 and checkpoint.manifest.parent is not None
