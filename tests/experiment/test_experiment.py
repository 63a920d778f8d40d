"""One candidate to one budget: exact after any interruption, refused before its first step, failed with a reason."""

import itertools
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from codenas.arch import ArchSpec, Design, FeedForwardSpec, SearchSpace
from codenas.arch.storage import STORAGES, Storage
from codenas.checkpoint import MANIFEST, TRAINING, Checkpoint, update_metrics
from codenas.compress.stored import StoredModel
from codenas.corpus import Corpus
from codenas.errors import CheckpointError, CorpusError, TrialFailure
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.full import FullTraining, train_fully
from codenas.experiment.rung import execute, run_job
from codenas.experiment.training import load_trainer
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.measure.latency import Latency
from codenas.metrics import LatencyContext, Metrics
from codenas.model import count_parameters
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Candidate, Failure, Outcome, Refusal, Report
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.loop import run_search
from codenas.search.plan import Plan
from codenas.search.static_metrics import VocabularySize, closed_form
from codenas.search.strategies.random_search import RandomSearch
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.vocab import load_vocabulary
from tests.fakes import tiny_arch, tiny_corpus
from tests.search.synthetic import next_job

LOW, HIGH = 3, 7
PLAIN, DROPPING = tiny_arch(), tiny_arch(dropout=0.2, attention_dropout=0.1, position="absolute")
WHOLE = Design(arch=PLAIN)
BITS = Objective(metric="bits_per_byte", weight=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def setup(corpus: Corpus, tmp_path: Path) -> ExperimentSetup:
    train = TrainConfig(batch_size=4, precision="float32")
    return ExperimentSetup(corpus=corpus.path, folder=tmp_path / "run", train=train, objectives=(BITS,), score_tokens=640, latency_tokens=4)


def job(rung: int, arch: ArchSpec = PLAIN, index: int = 0) -> Job:
    return designed(rung, Design(arch=arch), index)


def designed(rung: int, design: Design, index: int = 0) -> Job:
    return Job(Candidate(index=index, design=design, origin="random", seed=11), rung)


def elsewhere(setup: ExperimentSetup) -> ExperimentSetup:
    return setup.model_copy(update={"folder": setup.folder.parent / "elsewhere"})


def reported(setup: ExperimentSetup, asked: Job) -> Report:
    outcome = run_job(setup, asked)
    assert isinstance(outcome, Report), outcome
    return outcome


def steps_of(setup: ExperimentSetup, asked: Job) -> tuple[list[Step], Outcome]:
    """What `execute` yields and returns."""
    running, steps = execute(setup, asked), list[Step]()
    while True:
        try:
            steps.append(next(running))
        except StopIteration as end:
            return steps, end.value


def stored(setup: ExperimentSetup, report: Report) -> Checkpoint:
    return Checkpoint.open(setup.folder / report.checkpoint)


def training_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {name: value for name, value in checkpoint.load_training_state().items() if name != "seconds"}


def assert_same_training(a: Checkpoint, b: Checkpoint) -> None:
    assert a.manifest.weights_sha256 == b.manifest.weights_sha256
    first, second = training_state(a), training_state(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("arch", [PLAIN, DROPPING], ids=["plain", "dropout"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_rung_climbed_from_the_one_below_equals_one_reached_at_once(arch: ArchSpec, precision: str, setup: ExperimentSetup) -> None:
    setup = setup.model_copy(update={"train": setup.train.model_copy(update={"precision": precision})})
    low, high = (reported(setup, job(rung, arch)) for rung in (LOW, HIGH))
    at_once = reported(elsewhere(setup), job(HIGH, arch))
    assert (low.steps, high.steps, at_once.steps) == (LOW, HIGH - LOW, HIGH)
    assert high.metrics.bits_per_byte == at_once.metrics.bits_per_byte != low.metrics.bits_per_byte
    assert_same_training(stored(setup, high), stored(elsewhere(setup), at_once))


def test_a_rung_whose_state_was_removed_is_reached_from_scratch_and_equals_one_that_was_climbed(setup: ExperimentSetup) -> None:
    low = reported(setup, job(LOW))
    (stored(setup, low).path / TRAINING).unlink()
    measured = stored(setup, low).manifest.metrics.latency_ms_p50
    high, at_once = reported(setup, job(HIGH)), reported(elsewhere(setup), job(HIGH))
    assert high.steps == HIGH
    assert high.metrics.latency_ms_p50 == measured  # it is not measured anew: it was inside the limits
    assert high.metrics.bits_per_byte == at_once.metrics.bits_per_byte
    assert_same_training(stored(setup, high), stored(elsewhere(setup), at_once))


def test_a_repeat_stores_no_state(setup: ExperimentSetup) -> None:
    repeat = Job(job(LOW).candidate.with_repeat(1), LOW)
    for branch in ({}, {LOW: 2}):
        setup = elsewhere(setup).model_copy(update={"scoring_steps": branch})
        checkpoint = stored(setup, reported(setup, repeat))
        assert not checkpoint.holds_training_state
        assert checkpoint.manifest.training_sha256 is None


def test_a_report_says_everything_that_was_measured(setup: ExperimentSetup, corpus: Corpus) -> None:
    report = reported(setup, job(LOW))
    checkpoint = stored(setup, report)
    assert (report.index, report.rung, report.checkpoint) == (0, LOW, f"c000/{LOW}")
    assert checkpoint.manifest.metrics == report.metrics
    assert {name for name, value in report.metrics if value is None} == {"peak_memory_bytes"}
    assert report.metrics.size_bytes == checkpoint.size_bytes
    assert report.metrics.train_tokens == LOW * 4 * PLAIN.context_len
    assert report.seconds == report.metrics.train_seconds
    assert checkpoint.manifest.step == LOW and checkpoint.manifest.corpus_digest == corpus.manifest.digest
    assert TrainConfig.model_validate(checkpoint.manifest.training) == setup.train.model_copy(update={"seed": 11})


def test_a_report_has_the_training_curve_of_its_own_rung(setup: ExperimentSetup) -> None:
    branched = setup.model_copy(update={"scoring_steps": {LOW: 2}})
    low, high = (reported(branched, job(rung)).curve for rung in (LOW, HIGH))
    assert low is not None and high is not None
    assert [step for step, _ in low.losses] == list(range(1, LOW + 1))  # the scoring branch is no part of it
    assert [step for step, _ in high.losses] == list(range(LOW + 1, HIGH + 1))
    assert low.worker == high.worker and low.started + low.seconds <= high.started


def test_the_score_is_that_of_the_stored_model(setup: ExperimentSetup, corpus: Corpus) -> None:
    report = reported(setup, job(LOW))
    sizes = load_vocabulary(corpus.tokenizer_path).bytes_per_token
    scored = bits_per_byte(stored(setup, report).load_model(), corpus.split("valid"), sizes, setup.score_tokens)
    assert report.metrics.bits_per_byte == scored.bits_per_byte


def test_a_scoring_branch_changes_what_is_scored_and_nothing_that_is_resumed(setup: ExperimentSetup) -> None:
    branched = elsewhere(setup).model_copy(update={"scoring_steps": {LOW: LOW, HIGH: HIGH}})
    plain, scored = ([reported(each, job(rung)) for rung in (LOW, HIGH)] for each in (setup, branched))
    for a, b in zip(plain, scored, strict=True):
        first, second = (training_state(stored(*which)) for which in ((setup, a), (branched, b)))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert a.metrics.bits_per_byte != b.metrics.bits_per_byte
        assert (a.steps, a.scoring_steps, b.steps, b.scoring_steps) == (a.steps, 0, a.steps, b.rung)


def test_the_steps_of_a_scoring_branch_are_yielded_behind_the_rung(setup: ExperimentSetup) -> None:
    branched = setup.model_copy(update={"scoring_steps": {HIGH: 2}})
    assert len(steps_of(branched, job(LOW))[0]) == LOW
    steps, outcome = steps_of(branched, job(HIGH))
    assert [step.step for step in steps] == list(range(LOW + 1, HIGH + 2 + 1))
    assert isinstance(outcome, Report) and outcome.metrics.train_tokens == HIGH * 4 * PLAIN.context_len
    assert outcome.seconds == pytest.approx(sum(step.seconds for step in steps))


def test_seconds_of_a_rung_are_its_own(setup: ExperimentSetup) -> None:
    low, high = (reported(setup, job(rung)) for rung in (LOW, HIGH))
    assert high.metrics.train_seconds == pytest.approx(low.seconds + high.seconds)


def test_steps_are_yielded_one_by_one(setup: ExperimentSetup) -> None:
    assert [step.step for step in steps_of(setup, job(LOW))[0]] == [1, 2, 3]
    assert [step.step for step in steps_of(setup, job(HIGH))[0]] == [4, 5, 6, 7]


@pytest.mark.parametrize("rung", [LOW, HIGH])
def test_a_finished_rung_is_not_trained_again(rung: int, setup: ExperimentSetup) -> None:
    reports = {asked: reported(setup, job(asked)) for asked in (LOW, HIGH)}
    steps, again = steps_of(setup, job(rung))
    assert steps == [] and again == reports[rung]


def test_a_rung_that_was_stored_but_not_scored_is_scored(setup: ExperimentSetup) -> None:
    report = reported(setup, job(LOW))
    checkpoint = stored(setup, report)
    update_metrics(checkpoint, report.metrics.model_copy(update={"bits_per_byte": None}))
    steps, again = steps_of(setup, job(LOW))
    assert steps == [] and again == report


@pytest.mark.parametrize("done", [1, HIGH - LOW - 1])
def test_a_job_that_is_killed_in_a_rung_starts_that_rung_again(done: int, setup: ExperimentSetup) -> None:
    reported(setup, job(LOW))
    running = execute(setup, job(HIGH))
    assert len(list(itertools.islice(running, done))) == done
    running.close()
    again, at_once = reported(setup, job(HIGH)), reported(elsewhere(setup), job(HIGH))
    assert again.steps == HIGH - LOW
    assert_same_training(stored(setup, again), stored(elsewhere(setup), at_once))


@pytest.mark.parametrize(("metric", "limit"), [("size_bytes", 1_000.0), ("params", 10.0), ("latency_ms_p50", 1e-9)])
def test_a_limit_refuses_before_the_first_step(metric: str, limit: float, setup: ExperimentSetup) -> None:
    limited = setup.model_copy(update={"objectives": (BITS, Objective(metric=metric, limit=limit))})
    steps, outcome = steps_of(limited, job(LOW))
    assert steps == [] and isinstance(outcome, Refusal)
    assert outcome.reason.startswith(f"{metric} ") and "is outside its limit, at most" in outcome.reason
    assert outcome.metrics.size_bytes and outcome.metrics.latency_ms_p95 and outcome.metrics.bits_per_byte is None
    assert list((setup.folder / "c000").iterdir()) == []


def test_who_has_trained_is_not_refused_any_more(setup: ExperimentSetup) -> None:
    """A latency measured twice differs, and a low rung has more bits per byte than the last may have."""
    reported(setup, job(LOW))
    out_of_reach = tuple(Objective(metric=metric, limit=1e-9) for metric in ("latency_ms_p50", "bits_per_byte"))
    limited = setup.model_copy(update={"objectives": out_of_reach})
    assert isinstance(run_job(limited, job(LOW)), Report)
    assert isinstance(run_job(limited, job(HIGH)), Report)


@pytest.mark.parametrize(
    ("rung", "reason"), [(LOW, r"diverged: the loss of step 2 is nan"), (1, r"\d+ more weights are not finite; the model diverged")]
)
def test_a_failure_has_its_reason(rung: int, reason: str, setup: ExperimentSetup) -> None:
    wild = setup.train.model_copy(update={"matrix_rate": 1e30, "embedding_rate": 1e38, "warmup_steps": 0})
    outcome = run_job(setup.model_copy(update={"train": wild}), job(rung))
    assert isinstance(outcome, Failure) and (outcome.index, outcome.rung) == (0, rung)
    assert outcome.curve is not None and [step for step, _ in outcome.curve.losses] == [1]
    assert re.search(reason, outcome.reason)
    assert not (setup.folder / "c000" / str(rung)).exists()


@pytest.mark.parametrize(("context_len", "split"), [(20_000_000, "train"), (2_000, "valid")])
def test_a_context_above_the_corpus_is_refused_before_anything_is_built(
    context_len: int, split: str, setup: ExperimentSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codenas.experiment.training.build_model", lambda *_: pytest.fail("a model was built"))
    with pytest.raises(CorpusError, match=f"too small for the context: .* tokens in split '{split}', .*{context_len + 1}; prepare more"):
        run_job(setup, job(LOW, tiny_arch(context_len=context_len)))
    wide, plan = tiny_arch(context_len=20_000_000, position="absolute"), FullTraining(steps=1, decay_share=0.5, save_every=1)
    with pytest.raises(CorpusError, match="too small for the context"):
        list(train_fully(Corpus.open(setup.corpus), Design(arch=wide), setup.train, plan, setup.folder))


@pytest.mark.parametrize(
    ("work", "done"),
    [
        ("experiment.training.build_model", "the model was built"),
        ("measure.measurements.latency.decoding_latency", "its latency was measured"),
        ("measure.measurements.bits_per_byte.bits_per_byte", "the stored model was scored"),
    ],
)
def test_a_model_that_does_not_fit_into_memory_is_a_failure_with_a_way_out(
    work: str, done: str, setup: ExperimentSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(f"codenas.{work}", no_memory)
    outcome = run_job(setup, job(LOW))
    assert isinstance(outcome, Failure)
    message = rf"out of memory while {done} \(d_model 16, 2 layers, context_len 32\); choose a smaller architecture, or free memory"
    assert re.fullmatch(message, outcome.reason)


def test_a_broken_checkpoint_is_an_error_and_no_failed_trial(setup: ExperimentSetup) -> None:
    (stored(setup, reported(setup, job(LOW))).path / "training.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="training.safetensors is not what was written"):
        run_job(setup, job(HIGH))


SPACE = SearchSpace(base=PLAIN, choices={"n_layers": (1, 2), "norm": ("rmsnorm", "layernorm"), "position": ("rope", "alibi")})
BUDGET = Budget(candidates=4, rungs=(2, 4), promote=(2,))
OBJECTIVES = (BITS, Objective(metric="size_bytes", weight=1))


def test_a_real_search_that_is_interrupted_everywhere_ends_as_one_that_is_not(setup: ExperimentSetup, corpus: Corpus) -> None:
    plan = Plan(SPACE, RandomSearch(), BUDGET, OBJECTIVES, corpus.manifest.vocab_size)
    whole = run_search(plan, History(), partial(run_job, elsewhere(setup)))

    def killed_before_it_is_recorded(asked: Job) -> Outcome:
        run_job(setup, asked)
        raise KeyboardInterrupt

    path = setup.folder / "trials.jsonl"
    while not plan.finished(History(path)):
        with pytest.raises(KeyboardInterrupt):
            run_search(plan, History(path), killed_before_it_is_recorded)
        history = History(path)
        asked = next_job(plan, history)
        assert asked is not None
        history.add_outcome(run_job(setup, asked))
    history = History(path)
    assert [trial.candidate for trial in history.trials] == [trial.candidate for trial in whole.trials]
    for trial, expected in zip(history.trials, whole.trials, strict=True):
        assert [(report.rung, report.steps) for report in trial.reports] == [(report.rung, report.steps) for report in expected.reports]
        assert [report.metrics.bits_per_byte for report in trial.reports] == [report.metrics.bits_per_byte for report in expected.reports]
    assert sum(report.steps for trial in history.trials for report in trial.reports) == BUDGET.total_steps == 12


FULL = FullTraining(steps=10, decay_share=0.3, save_every=4)
CONFIG = TrainConfig(batch_size=4, precision="float32", seed=11)


def finish(
    corpus: Corpus, folder: Path, start: Checkpoint | None = None, stop: int | None = None, design: Design = WHOLE
) -> tuple[list[int], Checkpoint | None]:
    """The steps of a full training, and its result where it was not stopped."""
    running, steps = train_fully(corpus, design, CONFIG, FULL, folder, start), list[int]()
    while True:
        if len(steps) == stop:
            running.close()
            return steps, None
        try:
            steps.append(next(running).step)
        except StopIteration as end:
            return steps, end.value


def test_the_decay_begins_at_its_share() -> None:
    assert FULL.decay_from == 7


def test_a_full_training_continues_from_what_it_last_stored(corpus: Corpus, tmp_path: Path) -> None:
    steps, whole = finish(corpus, tmp_path / "whole")
    assert steps == list(range(1, 11)) and whole is not None and whole.path == tmp_path / "whole" / "model"
    assert finish(corpus, tmp_path / "stopped", stop=6)[0] == [1, 2, 3, 4, 5, 6]
    steps, resumed = finish(corpus, tmp_path / "stopped")
    assert steps == [5, 6, 7, 8, 9, 10] and resumed is not None
    assert_same_training(resumed, whole)
    assert finish(corpus, tmp_path / "whole") == ([], whole)


def test_a_full_training_of_an_earlier_version_continues(corpus: Corpus, tmp_path: Path) -> None:
    """A key that has a default since is not in its recipe."""
    _, whole = finish(corpus, tmp_path / "whole")
    finish(corpus, tmp_path / "stopped", stop=6)
    for stored_folder in (tmp_path / "whole" / "model", tmp_path / "stopped" / "last"):
        manifest = json.loads((stored_folder / MANIFEST).read_text())
        del manifest["training"]["label_smoothing"]
        (stored_folder / MANIFEST).write_text(json.dumps(manifest))
    steps, resumed = finish(corpus, tmp_path / "stopped")
    assert steps == [5, 6, 7, 8, 9, 10] and resumed is not None and whole is not None
    assert_same_training(resumed, whole)
    assert finish(corpus, tmp_path / "whole")[0] == []


def test_a_state_that_a_kill_left_aside_is_found(corpus: Corpus, tmp_path: Path) -> None:
    """A kill between the two renames that replace `last`."""
    finish(corpus, tmp_path, stop=6)
    aside = tmp_path / ".last.abcd1234"
    aside.mkdir()
    (aside / ".lock").touch()
    (tmp_path / "last").rename(aside / "old")
    assert finish(corpus, tmp_path)[0] == [5, 6, 7, 8, 9, 10]
    assert not aside.exists()


def test_a_full_training_continues_from_a_rung(setup: ExperimentSetup, corpus: Corpus, tmp_path: Path) -> None:
    start = stored(setup, reported(setup, job(LOW)))
    steps, result = finish(corpus, tmp_path / "full", start)
    _, whole = finish(corpus, tmp_path / "whole")
    assert steps == [4, 5, 6, 7, 8, 9, 10] and result is not None and whole is not None
    assert_same_training(result, whole)
    assert result.manifest.parent == start.manifest.weights_sha256
    assert result.manifest.metrics.bits_per_byte is None
    assert result.manifest.metrics.latency_ms_p50 == start.manifest.metrics.latency_ms_p50


def infilling(setup: ExperimentSetup, rate: float = 0.7) -> ExperimentSetup:
    return setup.model_copy(update={"train": setup.train.model_copy(update={"fim_rate": rate})})


def test_a_training_that_moves_documents_climbs_as_any_other(setup: ExperimentSetup) -> None:
    """Stopped at a rung and resumed it sees what an undisturbed one sees."""
    moving = infilling(setup)
    low, high = (reported(moving, job(rung)) for rung in (LOW, HIGH))
    at_once, plain = reported(elsewhere(moving), job(HIGH)), reported(elsewhere(setup), job(HIGH, index=1))
    assert_same_training(stored(moving, high), stored(elsewhere(moving), at_once))
    assert low.metrics.bits_per_byte != high.metrics.bits_per_byte == at_once.metrics.bits_per_byte != plain.metrics.bits_per_byte


@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_what_was_taught_is_reported_by_what_is_stored(rate: float, setup: ExperimentSetup, corpus: Corpus, tmp_path: Path) -> None:
    """Also where the weights were pruned and rounded, and by the winner's last training whatever its search did."""
    start = stored(infilling(setup, 0.7 - rate), reported(infilling(setup, 0.7 - rate), designed(LOW, PACKED)))
    assert start.manifest.infills is (rate == 0)
    config = CONFIG.model_copy(update={"fim_rate": rate})
    list(train_fully(corpus, PACKED, config, FULL, tmp_path / "full", start))
    assert Checkpoint.open(tmp_path / "full" / "model").manifest.infills is (rate > 0)


@pytest.mark.parametrize("vocabulary", [None, "char"])
def test_documents_are_moved_in_the_vocabulary_of_the_design(vocabulary: str | None, tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path, tokens=2_000, vocabularies=["char"]).with_vocabulary(vocabulary)
    specials = load_vocabulary(corpus.tokenizer_path).specials
    trainer = load_trainer(corpus, WHOLE, CONFIG.model_copy(update={"fim_rate": 1.0}), "cpu", None)
    plain = load_trainer(corpus, WHOLE, CONFIG, "cpu", None)
    moved, as_it_is = (np.concatenate([each.batches.at(cursor, 1)[0] for cursor in range(20)]) for each in (trainer, plain))
    assert (trainer.batches.at(0, 20)[0] == moved).all()
    counts = [int((moved == specials[name]).sum()) for name in ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")]
    assert counts[0] == counts[1] >= counts[2] > 10 and not np.isin(as_it_is, list(specials.values())[1:]).any()


def test_without_a_rate_no_vocabulary_is_read(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codenas.experiment.training.load_vocabulary", lambda _: pytest.fail("a vocabulary was read"))
    load_trainer(corpus, WHOLE, CONFIG, "cpu", None)


def test_a_trainer_without_a_start_is_fresh(corpus: Corpus) -> None:
    trainer = load_trainer(corpus, WHOLE, CONFIG, "cpu", None)
    assert (trainer.step, trainer.cursor, trainer.seconds) == (0, 0, 0.0)


def test_a_full_training_that_diverges_is_a_failure(corpus: Corpus, tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"embedding_rate": 1e38, "warmup_steps": 0})
    with pytest.raises(TrialFailure, match="diverged"):
        list(train_fully(corpus, WHOLE, wild, FULL, tmp_path))
    assert not (tmp_path / "model").exists()


def test_a_finished_model_that_was_altered_is_not_answered_with(corpus: Corpus, tmp_path: Path) -> None:
    list(train_fully(corpus, WHOLE, CONFIG, FULL, tmp_path))
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not what was written"):
        list(train_fully(corpus, WHOLE, CONFIG, FULL, tmp_path))


PACKED = Design(arch=tiny_arch(feedforward=FeedForwardSpec(multiplier=4.0)), storage="int8", pruning=0.5)


@pytest.mark.parametrize("scoring_steps", [{}, {LOW: LOW, HIGH: HIGH}])
def test_training_continues_from_what_was_neither_pruned_nor_rounded(scoring_steps: dict[int, int], setup: ExperimentSetup) -> None:
    setup = setup.model_copy(update={"scoring_steps": scoring_steps})
    packed = [reported(setup, designed(rung, PACKED)) for rung in (LOW, HIGH)]
    plain = [reported(elsewhere(setup), designed(rung, Design(arch=PACKED.arch))) for rung in (LOW, HIGH)]
    for a, b in zip(packed, plain, strict=True):
        first, second = training_state(stored(setup, a)), training_state(stored(elsewhere(setup), b))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert a.metrics.bits_per_byte != b.metrics.bits_per_byte


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("pruning", [0.0, 0.25, 0.5])
def test_what_is_reported_is_what_was_measured_of_the_stored_file(
    storage: Storage, pruning: float, setup: ExperimentSetup, corpus: Corpus
) -> None:
    design = Design(arch=PACKED.arch, storage=storage, pruning=pruning)
    report = reported(setup, designed(LOW, design))
    checkpoint, metrics = stored(setup, report), report.metrics
    model = checkpoint.load_model()
    assert model.arch == checkpoint.manifest.arch == design.stored_arch
    assert checkpoint.manifest.training_arch == design.arch and checkpoint.manifest.storage == storage
    size = VocabularySize(corpus.manifest.vocab_size, corpus.tokenizer_path.stat().st_size)
    assert closed_form(design, size) == Metrics(params=metrics.params, size_bytes=metrics.size_bytes)
    assert (count_parameters(model), checkpoint.size_bytes) == (metrics.params, metrics.size_bytes)
    bytes_per_token = load_vocabulary(corpus.tokenizer_path).bytes_per_token
    assert metrics.bits_per_byte == bits_per_byte(model, corpus.split("valid"), bytes_per_token, setup.score_tokens).bits_per_byte


def test_size_and_latency_are_those_of_the_stored_model_before_the_first_step(
    setup: ExperimentSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = list[ArchSpec]()

    def latency(model: StoredModel, device: str, tokens: int) -> Latency:
        timed.append(model.arch)
        return Latency(1.0, 2.0, tokens, LatencyContext(device="box", threads=1))

    monkeypatch.setattr("codenas.measure.measurements.latency.decoding_latency", latency)
    limited = setup.model_copy(update={"objectives": (BITS, Objective(metric="size_bytes", limit=1_000.0))})
    refusal, report = run_job(limited, designed(LOW, PACKED)), reported(setup, designed(LOW, PACKED))
    assert isinstance(refusal, Refusal)
    assert (refusal.metrics.size_bytes, refusal.metrics.params) == (report.metrics.size_bytes, report.metrics.params)
    assert timed == [PACKED.stored_arch, PACKED.stored_arch]


def test_the_winner_is_stored_as_its_design_says(setup: ExperimentSetup, corpus: Corpus, tmp_path: Path) -> None:
    start = stored(setup, reported(setup, designed(LOW, PACKED)))
    steps, result = finish(corpus, tmp_path / "full", start, design=PACKED)
    again, whole = finish(corpus, tmp_path / "whole", design=Design(arch=PACKED.arch))
    assert (steps, again) == ([4, 5, 6, 7, 8, 9, 10], list(range(1, 11))) and result is not None and whole is not None
    assert (result.manifest.arch, result.manifest.training_arch) == (PACKED.stored_arch, PACKED.arch)
    assert result.manifest.storage == "int8" and result.size_bytes == start.size_bytes == result.manifest.metrics.size_bytes
    first, second = training_state(result), training_state(whole)
    assert all(torch.equal(first[name], second[name]) for name in first)
    fresh, alone = finish(corpus, tmp_path / "alone", design=PACKED)
    assert fresh == again and alone is not None and alone.manifest.weights_sha256 == result.manifest.weights_sha256
    assert alone.manifest.metrics.params == count_parameters(alone.load_model())


def test_a_repeat_is_trained_from_scratch_with_its_own_seed(setup: ExperimentSetup) -> None:
    own = reported(setup, job(HIGH))
    again = job(HIGH).candidate.with_repeat(1)
    repeat = reported(setup, Job(again, HIGH))
    assert (repeat.index, repeat.repeat, repeat.steps, repeat.checkpoint) == (0, 1, HIGH, f"c000.1/{HIGH}")
    other_seed = Candidate(index=5, design=WHOLE, origin="random", seed=again.seed)
    assert repeat.metrics.bits_per_byte == reported(setup, Job(other_seed, HIGH)).metrics.bits_per_byte != own.metrics.bits_per_byte
    assert repeat.metrics.size_bytes == own.metrics.size_bytes
    assert stored(setup, own).load_training_state(), "the first seed can still be resumed"


def test_who_is_repeated_was_inside_the_limits_and_is_not_refused(setup: ExperimentSetup) -> None:
    strict = setup.model_copy(update={"objectives": (BITS, Objective(metric="latency_ms_p50", limit=1e-9))})
    assert isinstance(run_job(strict, job(LOW)), Refusal)
    assert reported(strict, Job(job(LOW).candidate.with_repeat(2), LOW)).repeat == 2
