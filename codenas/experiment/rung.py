"""Training of one candidate to one rung of a search."""

import shutil
from collections.abc import Generator
from pathlib import Path

import torch

from codenas.arch.cost import parameters
from codenas.arch.design import Design
from codenas.checkpoint import TRAINING, Checkpoint, stored_at, update_metrics, write_checkpoint
from codenas.compress.prune import pruned
from codenas.corpus import Corpus
from codenas.errors import TrialFailure
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.device import GIVEN_GPU, require_visible_gpu, resolve_device
from codenas.experiment.memory import exempt_imported_objects, release_memory
from codenas.experiment.resume import differences, require_of_search
from codenas.experiment.splits import VALID, require_windows, tokens_to_score
from codenas.experiment.training import (
    Scored,
    TrainingSubject,
    build,
    load_trainer,
    manifest_of,
    memory_errors_as_failures,
    scoring_branch,
    store,
)
from codenas.measure.measurements.base import MeasurementSubject
from codenas.measure.measurements.bits_per_byte import MEASUREMENT as BITS_PER_BYTE
from codenas.measure.measurements.registry import measurements
from codenas.metrics import Known, Metrics
from codenas.search.actions import Job
from codenas.search.candidate import Candidate, Outcome, Refusal, Report
from codenas.search.fitness import broken_limit
from codenas.train.curve import CurveRecorder, Step
from codenas.train.trainer import Trainer


def run_job(setup: ExperimentSetup, job: Job) -> Outcome:
    """Run `job` to its end in this process."""
    steps = execute(setup, job)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def execute(setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
    """Run `job` step by step: yields every training step, returns the outcome.

    Steps beyond the rung are those of a scoring branch, which is not resumed.

    A rung that is already stored is not trained again; a later one resumes from the highest stored one below it.
    """
    exempt_imported_objects()
    try:
        return (yield from _execute(setup, job))
    finally:
        release_memory()  # the process runs the next job


def _execute(setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
    recorder = CurveRecorder()
    setup, corpus = resolve_setup(setup, job.candidate.design)
    below, reached = _checkpoint_below(setup, job), stored_at(setup.checkpoint(job.candidate, job.rung))
    start = below if below is not None and below.holds_training_state else None  # without one, it is trained from scratch
    recipe = setup.train.model_copy(update={"seed": job.candidate.seed})
    for stored in filter(None, (below, reached)):
        require_of_search(stored, differences(stored, corpus, job.candidate.design, recipe))
    if reached is not None:
        return _report(setup, corpus, job, below, reached)
    try:
        static = below.manifest.metrics if below is not None else measure_untrained(setup, corpus, job.candidate)
        new = below is None and not job.candidate.repeat  # a trained candidate satisfied the limits before
        reason = broken_limit(static, setup.objectives) if new else None
        if reason is not None:
            return Refusal(index=job.candidate.index, reason=reason, metrics=static)
        trainer = load_trainer(corpus, job.candidate.design, recipe, setup.device, start)
        finished = yield from _train_to_rung(setup, job, trainer, TrainingSubject(corpus, job.candidate.design, static), recorder)
    except TrialFailure as failure:
        return job.failed(str(failure), recorder.curve())
    return _report(setup, corpus, job, start, finished)


def resolve_setup(setup: ExperimentSetup, design: Design) -> tuple[ExperimentSetup, Corpus]:
    """`setup` as it is on this machine, in this process, and the corpus in the vocabulary of `design`.

    Raises:
        CorpusError: the corpus lacks the vocabulary, or is shorter than the context.
        ResourceError: this process was given a GPU and torch sees none.
    """
    torch.set_num_threads(setup.threads)
    if setup.device == GIVEN_GPU:
        require_visible_gpu()
    device, latency_device = resolve_device(setup.device), resolve_device(setup.latency_device)
    own = Corpus.open(setup.corpus)
    corpus = own.with_vocabulary(design.vocabulary)
    require_windows(corpus, design.arch.context_len)
    found = {"device": device, "latency_device": latency_device, "train": setup.train.on(device)}
    return setup.model_copy(update={**found, "score_tokens": tokens_to_score(setup.score_tokens, own, corpus)}), corpus


def _checkpoint_below(setup: ExperimentSetup, job: Job) -> Checkpoint | None:
    """The highest stored rung of the candidate below the job's."""
    rungs = [int(path.name) for path in (setup.folder / job.candidate.id).glob("[1-9]*")]
    below = max((rung for rung in rungs if rung < job.rung), default=None)
    return Checkpoint.open(setup.checkpoint(job.candidate, below)) if below is not None else None


def measure_untrained(setup: ExperimentSetup, corpus: Corpus, candidate: Candidate) -> Metrics:
    """Size and latency do not depend on training: a candidate outside a limit is refused before its first step.

    The latency is measured on `setup.latency_device`, whatever device the candidate is trained on.
    """
    fresh = build(candidate.arch, corpus.manifest.vocab_size, candidate.seed)
    path, manifest = setup.checkpoint(candidate, 0), manifest_of(corpus, candidate.design, 0, 0)
    stored = write_checkpoint(path, pruned(dict(fresh.named_parameters()), candidate.design), manifest, corpus.tokenizer_path)
    params = parameters(stored.manifest.arch, stored.manifest.vocab_size)
    subject = _subject(setup, corpus, stored, setup.latency_device)
    metrics = _measured(subject, "untrained", Metrics(params=params, size_bytes=stored.size_bytes))
    shutil.rmtree(path)
    return metrics


def _subject(setup: ExperimentSetup, corpus: Corpus, checkpoint: Checkpoint, device: str) -> MeasurementSubject:
    held_out, precision = corpus.split(VALID), setup.train.precision
    return MeasurementSubject(checkpoint, held_out, device, setup.score_tokens, setup.latency_tokens, precision)


def _measured(subject: MeasurementSubject, known: Known, metrics: Metrics) -> Metrics:
    """`metrics` with all that is known at that time and missing in them.

    Raises:
        TrialFailure: a metric is not finite, or memory ran out.
    """
    for measurement in measurements(known):
        if measurement.is_missing(metrics):
            with memory_errors_as_failures(subject.checkpoint.manifest.arch, measurement.description):
                metrics = metrics.merged(measurement.measure(subject))
    return metrics


def _train_to_rung(
    setup: ExperimentSetup, job: Job, trainer: Trainer, subject: TrainingSubject, recorder: CurveRecorder
) -> Generator[Step, None, Checkpoint]:
    yield from recorder.watch(trainer.run_to(job.rung))
    branch_steps = scoring_steps(setup, job)
    scored = (yield from scoring_branch(trainer, branch_steps)) if branch_steps else None
    if job.candidate.repeat:  # never resumed
        scored = Scored(trainer.averaged_weights() if scored is None else scored.weights, None)
    return store(trainer, setup.checkpoint(job.candidate, job.rung), subject, scored=scored, curve=recorder.curve())


def scoring_steps(setup: ExperimentSetup, job: Job) -> int:
    """Steps of the branch that scores the job's rung."""
    return setup.scoring_steps.get(job.rung, 0)


def _report(setup: ExperimentSetup, corpus: Corpus, job: Job, start: Checkpoint | None, finished: Checkpoint) -> Outcome:
    """Score the stored checkpoint on held-out repositories, once."""
    try:
        metrics = _measured(_subject(setup, corpus, finished, setup.device), "after training", finished.manifest.metrics)
    except TrialFailure as failure:
        return job.failed(str(failure), finished.manifest.curve)
    if metrics != finished.manifest.metrics:
        update_metrics(finished, metrics)
    before = start.manifest.metrics.train_seconds or 0.0 if start is not None else 0.0
    return Report(
        index=job.candidate.index,
        rung=job.rung,
        steps=job.rung - (start.manifest.step if start is not None else 0),
        scoring_steps=scoring_steps(setup, job),
        metrics=metrics,
        seconds=(metrics.train_seconds or 0.0) - before,
        checkpoint=str(finished.path.relative_to(setup.folder)),
        curve=finished.manifest.curve,
        repeat=job.candidate.repeat,
    )


def score_stored(setup: ExperimentSetup, corpus: Corpus, checkpoint: Checkpoint) -> float:
    """Bits per byte of the stored model, on held-out repositories.

    Raises:
        TrialFailure: they are not finite, or memory ran out.
    """
    with memory_errors_as_failures(checkpoint.manifest.arch, BITS_PER_BYTE.description):
        bits = BITS_PER_BYTE.measure(_subject(setup, corpus, checkpoint, setup.device)).bits_per_byte
    assert bits is not None
    return bits


def remove_training_states(checkpoints: Path, keep: Path) -> None:
    """Remove the training states, which take most of the space, of all checkpoints but `keep`."""
    for state in checkpoints.glob(f"*/*/{TRAINING}"):
        if state.parent != keep:
            state.unlink()
