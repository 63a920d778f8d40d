"""A search that begins with what earlier ones learned, for real: as deterministic as any other, whatever becomes of them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from codenas.arch import SearchSpace
from codenas.corpus import Corpus
from codenas.errors import ConfigError, RunError
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.experiment.local import search_locally
from codenas.search.candidate import Budget
from codenas.search.history import History
from codenas.search.result import SearchFolder, SearchResult
from codenas.train.config import TrainConfig
from tests.cli.commands import codenas
from tests.experiment.test_session import JOB
from tests.fakes import SMALL_SEARCH, tiny_arch, tiny_corpus

EARLIER = JOB.model_copy(
    update={
        "space": SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16, 24, 32), "norm": ("rmsnorm", "layernorm")}),
        "budget": Budget(candidates=4, rungs=(1, 2), promote=(2,)),
    }
)
WARM = EARLIER.model_copy(update={"strategy": "genetic", "seed": 1, "budget": Budget(candidates=5, rungs=(1, 2), promote=(2,))})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def original(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("runs") / "earlier"
    search_locally(EARLIER, corpus, run / "search")
    return run


@pytest.fixture
def earlier(original: Path, tmp_path: Path) -> Path:
    """A run of one's own to start from."""
    shutil.copytree(original, tmp_path / "earlier")
    return tmp_path / "earlier"


def warmed(*runs: Path) -> SearchJob:
    return WARM.model_copy(update={"warm_start": runs})


def essence(found: tuple[SearchResult, History]) -> list[object]:
    """All that does not depend on the clock."""
    result, history = found
    scores = [[(report.rung, report.metrics.bits_per_byte) for report in trial.reports] for trial in history.trials]
    return [result.winner, result.steps, [trial.candidate for trial in history.trials], scores]


def test_the_best_is_proposed_first_and_the_rest_is_bred_from_what_was_learned(
    earlier: Path, corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "codenas")
    _, history = search_locally(warmed(earlier), corpus, tmp_path / "search")
    won = SearchFolder(earlier / "search").result()
    assert won is not None
    first, *rest = [trial.candidate for trial in history.trials]
    assert (first.origin, first.parents) == ("warm start", ())
    assert first.design == SearchFolder(earlier / "search").history().trials[won.winner].candidate.design
    assert {each.origin for each in rest} <= {"mutation", "crossover"} and all(parent >= 0 for each in rest for parent in each.parents)
    line = f"warm start: 4 candidates of {earlier}, 1 designs of them proposed first; 0 outside this search's space were skipped"
    assert line in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("lost", ["removed", "changed"])
def test_an_interrupted_search_ends_the_same_whatever_becomes_of_the_earlier_run(
    lost: str, earlier: Path, corpus: Corpus, tmp_path: Path
) -> None:
    expected = essence(search_locally(warmed(earlier), corpus, tmp_path / "whole" / "search"))
    folder = tmp_path / "run" / "search"
    search_locally(warmed(earlier), corpus, folder)
    trials = folder / "trials.jsonl"
    for kept in (0, 3, 8):
        (folder / "result.json").unlink()
        trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:kept]))
        if lost == "removed":
            shutil.rmtree(earlier, ignore_errors=True)
        else:
            (earlier / "search" / "trials.jsonl").write_text("")
        assert essence(search_locally(warmed(earlier), corpus, folder)) == expected


def test_an_unfinished_run_and_several_runs_teach_too(earlier: Path, original: Path, corpus: Corpus, tmp_path: Path) -> None:
    (earlier / "search" / "result.json").unlink()
    trials = earlier / "search" / "trials.jsonl"
    reports = [line for line in trials.read_text().splitlines(keepends=True) if '"rung":2' not in line]
    trials.write_text("".join(reports) + '{"event":"rep')
    search_locally(warmed(earlier, original), corpus, tmp_path / "search")
    learned = SearchFolder(tmp_path / "search").warm_start()
    assert {prior.run for prior in learned.prior_trials} == {str(earlier), str(original)} and len(learned.prior_trials) == 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": Budget(candidates=5, rungs=(2, 3), promote=(2,))}, "the first of budget.rungs is 1 there and 2 here"),
        ({"train": TrainConfig(batch_size=4, precision="float32", warmup_steps=1)}, "train.batch_size is 2 there and 4 here"),
        ({"trial": TrialResources(score_tokens=32, latency_tokens=2)}, "trial.score_tokens is 64 there and 32 here"),
        (
            {"trial": TrialResources(score_tokens=64, latency_tokens=2, score_decay=0.0)},
            "trial.score_decay at the first rung, in steps, is 1 there and 0 here",
        ),
    ],
)
def test_scores_that_do_not_compare_are_refused(
    changed: dict[str, object], message: str, earlier: Path, corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=f"{earlier} cannot warm-start this search: {message}, and scores are comparable only if it is the same"
    ):
        search_locally(warmed(earlier).model_copy(update=changed), corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_another_corpus_is_refused(earlier: Path, tmp_path: Path) -> None:
    other = tiny_corpus(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="the digest of the corpus is [0-9a-f]{12} there and [0-9a-f]{12} here"):
        search_locally(warmed(earlier), other, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_another_seed_and_other_later_rungs_compare(earlier: Path, corpus: Corpus, tmp_path: Path) -> None:
    longer = warmed(earlier).model_copy(update={"budget": Budget(candidates=4, rungs=(1, 2, 3), promote=(2, 1)), "seed": 9})
    search_locally(longer, corpus, tmp_path / "search")
    assert len(SearchFolder(tmp_path / "search").warm_start().prior_trials) == 4


def test_what_is_no_run_or_damaged_is_one_line_and_claims_nothing(earlier: Path, corpus: Corpus, tmp_path: Path) -> None:
    def refused(message: str, run: Path = earlier) -> None:
        with pytest.raises(RunError, match=message) as caught:
            search_locally(warmed(run), corpus, tmp_path / "run" / "search")
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()

    refused(f"{tmp_path / 'absent'} holds no search to start from; name the folder of a run", tmp_path / "absent")
    refused(f"{corpus.path} holds no search to start from", corpus.path)
    trials, claim = earlier / "search" / "trials.jsonl", earlier / "search" / "job.json"
    trials.write_text(trials.read_text() + '{"event": "what"}\n')
    refused(f"{trials}, line .* is no event of a search")
    whole = json.loads(claim.read_text())
    claim.write_text(json.dumps({**whole, "job": '{"strategy": 1}'}))
    refused(rf"the job of {earlier} cannot be read \(strategy: .*\); it is damaged, or of another version")
    claim.write_bytes(b"\xff")
    refused(f"{claim} cannot be read")


def test_a_run_cannot_start_from_itself(earlier: Path, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "same").symlink_to(earlier)
    shutil.rmtree(earlier / "search")
    with pytest.raises(RunError, match=f"{earlier} is this run itself, and cannot warm-start it"):
        search_locally(warmed(earlier), corpus, tmp_path / "same" / "search")


def test_links_that_form_a_loop_are_no_run(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RunError, match="loop holds no search to start from"):
        search_locally(warmed(tmp_path / "loop"), corpus, tmp_path / "run" / "search")


def test_the_option_names_runs_and_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    corpus, job = tiny_corpus(tmp_path / "corpus").path, tmp_path / "job.toml"
    job.write_text(SMALL_SEARCH.replace("candidates = 3", "candidates = 4"))
    common = ("search", "--no-ray", "--corpus", corpus, "--job", job)
    assert codenas(*common, "--run", tmp_path / "first").exit_code == 0
    warm = codenas(*common, "--run", tmp_path / "second", "--warm-start", tmp_path / "first")
    assert warm.exit_code == 0 and f"candidates of {tmp_path / 'first'}, 1 designs of them proposed first" in warm.stderr
    absent = codenas(*common, "--run", tmp_path / "third", "--warm-start", tmp_path / "absent")
    assert (absent.exit_code, absent.stderr.count("\n")) == (2, 1) and "absent holds no search to start from" in absent.stderr
    itself = codenas(*common, "--run", tmp_path / "fourth", "--warm-start", tmp_path / "fourth")
    assert (itself.exit_code, itself.stderr.count("\n")) == (2, 1) and "fourth is this run itself" in itself.stderr
    assert not (tmp_path / "third" / "search").exists() and not (tmp_path / "fourth" / "search").exists()


def test_runs_whose_latencies_do_not_compare_do_not_warm_one_search(earlier: Path, corpus: Corpus, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(earlier, other)
    trials = other / "search" / "trials.jsonl"
    trials.write_text(re.sub(r'"latency_context":{"device":"[^"]*"', '"latency_context":{"device":"H200"', trials.read_text()))
    limited = warmed(earlier, other).with_limits({"latency_ms_p50": 1e3})
    with pytest.raises(ConfigError, match=r"latencies of the runs to start from are not comparable: .* and H200, 1 thread, .*other\)"):
        search_locally(limited, corpus, tmp_path / "search")
    search_locally(warmed(earlier, other), corpus, tmp_path / "search")
