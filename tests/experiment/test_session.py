"""What every way of running a search shares, seen by the way without Ray."""

import json
import re
from pathlib import Path

import pytest

from codenas.arch import Design, SearchSpace
from codenas.arch.presets import PRESETS
from codenas.corpus import Corpus
from codenas.errors import BudgetError, ConfigError, CorpusError, RunError
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.experiment.local import search_locally
from codenas.experiment.session import require_feasible, warn_unreachable
from codenas.measure.latency_model import Calibration, Point
from codenas.search.candidate import Budget
from codenas.search.fitness import Objective
from codenas.search.limits import require_reachable
from codenas.search.plan import Plan
from codenas.search.result import SearchFolder
from codenas.search.static_metrics import VocabularySize, closed_form
from codenas.train.config import TrainConfig
from codenas.vocab import Char
from codenas.vocab.bpe import SMALLEST_SIZE
from tests.fakes import tiny_arch, tiny_corpus

JOB = SearchJob(
    space=SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16), "norm": ("rmsnorm", "layernorm")}),
    budget=Budget(candidates=2, rungs=(1, 2), promote=(1,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=1),
    trial=TrialResources(score_tokens=64, latency_tokens=2),
)


def smallest_of(plan: Plan) -> Design:
    return require_reachable(plan.space, plan.static_metrics, plan.objectives, plan.seed)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def test_a_preset_that_another_version_defines_otherwise_is_refused_until_the_search_is_finished(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(JOB.space, SearchSpace)
    monkeypatch.setitem(PRESETS, "tiny", JOB.space)
    job, folder = JOB.model_copy(update={"space": "tiny"}), tmp_path / "search"
    _, history = search_locally(job, corpus, folder)
    wider = SearchSpace(base=JOB.space.base, choices={**JOB.space.choices, "position": ("rope", "none")})
    monkeypatch.setitem(PRESETS, "tiny", wider)
    assert len(search_locally(job, corpus, folder)[1].trials) == len(history.trials)
    (folder / "result.json").unlink()
    with pytest.raises(RunError, match="began in another search space"):
        search_locally(job, corpus, folder)
    claim = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({name: value for name, value in claim.items() if name != "space"}))
    search_locally(job, corpus, folder)  # earlier versions did not write which space it was


def test_a_context_above_the_corpus_is_refused_and_leaves_the_folder_free(corpus: Corpus, tmp_path: Path) -> None:
    space = SearchSpace(base=tiny_arch(), choices={"context_len": (32, 20_000_000), "norm": ("rmsnorm", "layernorm")})
    with pytest.raises(CorpusError, match="one window needs context_len"):
        search_locally(JOB.model_copy(update={"space": space}), corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_limit_out_of_reach_leaves_the_folder_free_and_names_one_that_works(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="no architecture can meet the limit") as caught:
        search_locally(JOB.with_limits({"size_bytes": 1_000}), corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()
    named = re.search(r"relax the limit to ([\d.]+) MB", str(caught.value))
    assert named is not None
    limit = float(named[1]) * 1e6
    result, history = search_locally(JOB.with_limits({"size_bytes": limit}), corpus, tmp_path / "search")
    winner = history.trials[result.winner].last
    assert winner is not None and (winner.metrics.size_bytes or limit) < limit


def test_what_no_vocabulary_makes_possible_is_refused_without_a_corpus() -> None:
    smallest = smallest_of(JOB.plan(SMALLEST_SIZE))
    least_bytes = closed_form(smallest, VocabularySize(SMALLEST_SIZE)).size_bytes
    assert least_bytes is not None
    with pytest.raises(BudgetError, match=rf"no architecture can meet the limit.*\(with a vocabulary of {SMALLEST_SIZE} ids, the smallest"):
        require_feasible(JOB.with_limits({"size_bytes": least_bytes - 1}))
    require_feasible(JOB.with_limits({"size_bytes": least_bytes}))


def test_what_the_vocabulary_that_is_asked_for_makes_impossible_is_reported_before_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    space = SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16), "vocabulary": (None, "bpe-300")})
    least = closed_form(smallest_of(JOB.plan(4096)), VocabularySize(4096)).size_bytes
    assert least is not None
    tight = JOB.with_limits({"size_bytes": least - 1})
    require_feasible(tight)
    warn_unreachable(JOB.with_limits({"size_bytes": least}), {None: 4096})
    warn_unreachable(tight.model_copy(update={"space": space}), {None: 4096, "bpe-300": 300})
    assert not caplog.messages
    warn_unreachable(tight.model_copy(update={"space": space}), {None: 4096, "bpe-300": 5000})
    (message,) = caplog.messages
    assert message.startswith("no architecture can meet the limit") and "with the 4,096, 5,000 configured ids" in message


def test_what_a_larger_vocabulary_may_meet_is_not_refused_without_a_corpus() -> None:
    few, many = (
        Objective(metric="params", direction=direction, limit=limit) for direction, limit in (("minimize", 1.0), ("maximize", 1e6))
    )
    with pytest.raises(BudgetError, match="params"):
        require_feasible(JOB.model_copy(update={"objectives": (*JOB.objectives, few)}))
    require_feasible(JOB.model_copy(update={"objectives": (*JOB.objectives, many)}))


def slow_device(folder: Path) -> SearchJob:
    """A search on a device that takes a millisecond for a token and ten for a layer of attention."""
    space = SearchSpace(base=tiny_arch(), choices={"n_layers": (1, 2), "norm": ("rmsnorm", "layernorm")})
    archs = [tiny_arch(n_layers=layers) for layers in range(1, 9)]
    points = [Point(arch=arch, vocab_size=300, p50_ms=1 + 10 * arch.n_layers, p50_uncertainty_ms=0.0) for arch in archs]
    Calibration.fit("slow", 1, points).save(folder / "slow.json")
    changes = {"space": space, "budget": Budget(candidates=3, rungs=(1, 2), promote=(1,))}
    return JOB.model_copy(update={**changes, "calibration": folder / "slow.json"})


def test_a_calibrated_device_refuses_before_anything_is_built(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One layer is inside the limit, and two are not."""
    job = slow_device(tmp_path).with_limits({"latency_ms_p50": 15.0})

    caplog.set_level("INFO", "codenas")
    _, history = search_locally(job, corpus, tmp_path / "search")

    assert "latencies are predicted for slow (slow, 1 thread, float32) before a candidate is built, and measured where" in caplog.text
    by_layers = {trial.candidate.arch.n_layers: trial.refusal for trial in history.trials}
    assert by_layers[1] is None
    assert by_layers[2] is not None and "is predicted at 2" in by_layers[2].reason


def test_a_calibration_that_refuses_every_candidate_is_reported_at_the_start(corpus: Corpus, tmp_path: Path) -> None:
    """It was `ValueError: min() arg is an empty sequence` once sixty candidates had been refused."""
    job = slow_device(tmp_path)
    known = r"latency_ms_p50 is predicted at [\d.]+ ms per token or more, outside its limit, at most 5 ms per token"
    outside = rf"\(d_model 16, 1 layers\) {known}; relax the limit to [\d.]+ ms per token or"
    with pytest.raises(BudgetError, match=outside) as caught:
        search_locally(job.with_limits({"latency_ms_p50": 5.0}), corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists() and "\n" not in str(caught.value)
    with pytest.raises(BudgetError, match="is predicted at"):
        require_feasible(job.with_limits({"latency_ms_p50": 5.0}))
    named = re.search(r"relax the limit to ([\d.]+) ms per token or", str(caught.value))
    assert named is not None
    _, history = search_locally(job.with_limits({"latency_ms_p50": float(named[1])}), corpus, tmp_path / "search")
    assert any(trial.refusal is None for trial in history.trials)


def test_a_mixer_that_the_calibration_lacks_is_reported_at_the_start(corpus: Corpus, tmp_path: Path) -> None:
    job = slow_device(tmp_path)
    job = SearchJob.model_validate({**job.model_dump(), "space": "small"})
    message = (
        r"the calibration .*slow.json has measured no linear_attention, mamba2, rwkv7, which the space small may propose; "
        r"measure them with: codenas device calibrate --space small --output .*slow.json"
    )
    with pytest.raises(ConfigError, match=message):
        search_locally(job, corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_calibration_that_is_not_there_is_reported(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="codenas device calibrate"):
        search_locally(JOB.model_copy(update={"calibration": tmp_path / "none.json"}), corpus, tmp_path / "search")
    assert not (tmp_path / "search").exists()


@pytest.fixture
def finished(corpus: Corpus, tmp_path: Path) -> SearchFolder:
    search_locally(JOB, corpus, tmp_path / "search")
    return SearchFolder(tmp_path / "search")


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00\xfe"])
def test_a_history_that_is_lost_beside_a_result_is_named(content: bytes | None, finished: SearchFolder, corpus: Corpus) -> None:
    trials = finished.path / "trials.jsonl"
    trials.unlink() if content is None else trials.write_bytes(content)
    with pytest.raises(RunError, match=f"{trials} has no report of candidate .*; restore the two, or remove {finished.path} to search"):
        search_locally(JOB, corpus, finished.path)


def test_a_history_that_lost_its_end_is_named(finished: SearchFolder, corpus: Corpus) -> None:
    trials = finished.path / "trials.jsonl"
    lines = trials.read_text().splitlines(keepends=True)
    trials.write_text("".join(lines[:-1]))
    with pytest.raises(RunError, match="trials.jsonl holds 2 training steps of 3, which .*result.json counts"):
        search_locally(JOB, corpus, finished.path)


@pytest.mark.parametrize("winner", [99, -1])
def test_a_winner_that_is_no_candidate_is_named(winner: int, finished: SearchFolder, corpus: Corpus) -> None:
    path = finished.path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "winner": winner}))
    with pytest.raises(RunError, match=f"trials.jsonl has no report of candidate {winner}, which {path} counts"):
        search_locally(JOB, corpus, finished.path)


def test_a_claim_that_is_no_text_is_another_search(finished: SearchFolder, corpus: Corpus) -> None:
    (finished.path / "job.json").write_bytes(b"\xff\x00")
    with pytest.raises(RunError, match="holds a search with another job or another corpus; choose another --run, or remove"):
        search_locally(JOB, corpus, finished.path)


def test_a_corpus_that_was_altered_is_not_searched_on(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "corpus")
    vocabulary = corpus.tokenizer_path.read_bytes()
    Char("é").save(corpus.tokenizer_path)
    with pytest.raises(CorpusError, match=f"{corpus.tokenizer_path} is not the vocabulary of the shards beside it"):
        search_locally(JOB, corpus, tmp_path / "search")
    corpus.tokenizer_path.write_bytes(vocabulary)
    shard = corpus.path / corpus.manifest.splits["train"].shards[0].file
    shard.write_bytes(shard.read_bytes()[::-1])
    with pytest.raises(CorpusError, match=f"{shard} was altered"):
        search_locally(JOB, corpus, tmp_path / "search")


def test_a_search_that_was_moved_says_that_its_latencies_do_not_compare(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["EPYC", *("H200",) * 100])
    monkeypatch.setattr("codenas.measure.served.device_name", lambda *_: next(names))
    search_locally(JOB, corpus, tmp_path / "search")
    assert re.search(r"latencies were measured on EPYC, 1 thread, .* and H200, 1 thread, .*; compare those of one device only", caplog.text)
