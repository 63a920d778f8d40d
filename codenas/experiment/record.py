"""Record the scores of some hundred architectures in a table on which searches can be replayed.

All are trained first, then latency is measured, one at a time. Both resume after a kill: each result is appended as one line.
Scores are those of stored checkpoints, pruned and quantised as in a search.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from codenas.arch.cost import body_parameters, decoding_flops
from codenas.arch.design import Design
from codenas.corpus import Corpus
from codenas.errors import ConfigError, RunError, TrialFailure
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.device import resolve_device
from codenas.experiment.jobs import RecordJob
from codenas.experiment.rung import measure_untrained, resolve_setup, score_stored
from codenas.experiment.splits import verify_corpus
from codenas.experiment.training import Scored, TrainingSubject, load_trainer, scoring_branch, store
from codenas.files import append_line
from codenas.log import Progress
from codenas.measure.served import served_context
from codenas.metrics import LATENCY, STATIC, LatencyContext, Metrics, context_name
from codenas.processes import worker_pool
from codenas.search.candidate import Candidate
from codenas.search.replay.table import CHOICE, Cell, Row, at_step, context_cells, context_of, read_lines, write_table
from codenas.search.result import SearchFolder
from codenas.search.static_metrics import VocabularySize, closed_form
from codenas.seeds import derive, stream
from codenas.train.trainer import Trainer

LOGGER = logging.getLogger("codenas")
_REDRAWS = 1_000  # draws that repeat an architecture, in a row, before the space counts as exhausted


@dataclass(slots=True, frozen=True)
class Recording:
    """The files of a recording: append-only results, and the table that is made of them."""

    folder: Path

    @property
    def rows(self) -> Path:
        """A line for each architecture that was trained."""
        return self.folder / "rows.jsonl"

    @property
    def latencies(self) -> Path:
        """A line for each architecture and sweep."""
        return self.folder / "latencies.jsonl"

    @property
    def table(self) -> Path:
        """What `codenas search replay` reads."""
        return self.folder / "table.parquet"

    @property
    def scratch(self) -> Path:
        """Temporary files."""
        return self.folder / "scratch"


def record(job: RecordJob, corpus: Corpus, folder: Path, workers: int = 1) -> Recording:
    """Train and time the architectures of `job`, and make a table of them in `folder`; an interrupted recording is resumed.

    Args:
        workers: processes of one thread each that train at a time. One alone measures latency.

    Raises:
        RunError: the folder holds a table that was recorded with other settings.
        ConfigError: the space holds too few architectures.
        ResourceError: a worker died.
    """
    home, candidates = Recording(folder), draw_architectures(job)
    verify_corpus(corpus)
    SearchFolder(folder).claim(_identity(job), corpus.manifest.digest, _present)
    setup = job.setup(corpus, home.scratch)
    try:
        _train(job, setup, candidates, home, workers)
        _write_table(candidates, home)
        _time(job, setup, candidates, home)
        _write_table(candidates, home)
    finally:
        shutil.rmtree(home.scratch, ignore_errors=True)
    return home


def _identity(job: RecordJob) -> str:
    """The settings that identify a table: a larger count or more sweeps extend it."""
    return job.model_dump_json(exclude={"count", "sweeps"})


def _present(job: str) -> str:
    """`_identity` of a job that an earlier version may have written; the job itself where it cannot be read."""
    try:
        return _identity(RecordJob.model_validate_json(job))
    except (ValidationError, ConfigError):
        return job


def _train(job: RecordJob, setup: ExperimentSetup, candidates: Sequence[Candidate], home: Recording, workers: int) -> None:
    known = {row["digest"] for row in read_lines(home.rows)}
    todo = [candidate for candidate in candidates if candidate.design.digest not in known]
    done = len(candidates) - len(todo)
    LOGGER.info(f"record: {job.count} architectures, {done} trained, {workers} at a time")
    progress = Progress("record", len(candidates), "architectures", initial=done)
    for row in _rows(job, setup, todo, workers):
        append_line(home.rows, json.dumps(row))
        LOGGER.info(_row_line(row))
        progress.update(progress.done + 1)
    progress.finish()


def _time(job: RecordJob, setup: ExperimentSetup, candidates: Sequence[Candidate], home: Recording) -> None:
    """Measure the latency of all in sweeps: other work on the machine then affects all of them alike.

    Raises:
        RunError: some were measured on another device.
    """
    measured = Counter(line["digest"] for line in read_lines(home.latencies))
    todo = [candidate for sweep in range(job.sweeps) for candidate in candidates if measured[candidate.design.digest] <= sweep]
    if todo:
        torch.set_num_threads(setup.threads)
        device = resolve_device(setup.latency_device)
        _require_like(home, [served_context(device, candidate.design.stored_arch) for candidate in candidates])
    total = job.sweeps * len(candidates)
    progress = Progress("latency", total, "measurements", initial=total - len(todo))
    for candidate in todo:
        resolved, corpus = resolve_setup(setup, candidate.design)
        metrics = measure_untrained(resolved, corpus, candidate)
        line = {name: getattr(metrics, name) for name in STATIC if name != "params"}
        append_line(home.latencies, json.dumps({"digest": candidate.design.digest, **line, **context_cells(metrics.latency_context)}))
        progress.update(progress.done + 1)
    progress.finish()


def _require_like(home: Recording, here: Sequence[LatencyContext]) -> None:
    other = next((found for line in read_lines(home.latencies) if (found := context_of(line)) not in here), here[0])
    if other not in here:
        raise RunError(
            f"latencies in {home.latencies} were measured on {context_name(other)}, this is {here[0]}, and the two are not comparable; "
            f"resume where they were measured, or remove {home.latencies} to measure all of them here"
        )


def _write_table(candidates: Sequence[Candidate], home: Recording) -> None:
    """The rows of `candidates` with the lowest of their latencies: other work on the machine can only add to one."""
    rows = {row["digest"]: row for row in read_lines(home.rows)}
    lowest: dict[Cell, Row] = {}
    for line in read_lines(home.latencies):
        known = lowest.setdefault(line["digest"], line)
        lowest[line["digest"]] = min(known, line, key=_latency)
    digests = [candidate.design.digest for candidate in candidates]
    write_table(home.table, [rows[digest] | lowest.get(digest, {}) for digest in digests])


def _latency(line: Row) -> float:
    return float(line[LATENCY] or 0.0)


def draw_architectures(job: RecordJob) -> list[Candidate]:
    """Distinct random architectures. A larger `count` only adds to them; all train with the same seed.

    Raises:
        ConfigError: the space holds fewer.
    """
    space, rng, seed = job.search_space(), stream(job.seed, "record"), derive(job.seed, "training")
    found: dict[str, Design] = {}
    repeats = 0
    while len(found) < job.count and repeats < _REDRAWS:
        design = space.sample(rng)
        repeats = repeats + 1 if design.digest in found else 0
        found.setdefault(design.digest, design)
    if len(found) < job.count:
        raise ConfigError(f"the space holds {len(found)} architectures only; a count of {job.count} is too many")
    return [Candidate(index=index, design=design, origin="random", seed=seed) for index, design in enumerate(found.values())]


def record_one(job: RecordJob, setup: ExperimentSetup, candidate: Candidate) -> Row:
    """Train `candidate`, score it on the way, and return its row; the row of a failed training has its scores so far and the reason."""
    setup, corpus = resolve_setup(setup, candidate.design)
    row = {**_choices(job, candidate.design), **_closed_forms(candidate.design, corpus)}
    try:
        row.update(_scores(job, setup, candidate, TrainingSubject(corpus, candidate.design, Metrics())))
    except TrialFailure as failure:
        row["failure"] = str(failure)
    finally:
        shutil.rmtree(setup.folder / candidate.id, ignore_errors=True)
    return row


def _choices(job: RecordJob, design: Design) -> Row:
    """The columns that identify the architecture: its digest and its choices, a pattern as one string."""
    choices = job.search_space().flatten(design)
    words: Row = {f"{CHOICE}{path}": "+".join(value) if isinstance(value, tuple) else value for path, value in choices.items()}
    return {"digest": design.digest, **words}


def _closed_forms(design: Design, corpus: Corpus) -> Row:
    """The metrics with a closed form; `body_params` are those of the layers, without embedding and head."""
    arch, ids = design.stored_arch, corpus.manifest.vocab_size
    known = closed_form(design, VocabularySize(ids, corpus.tokenizer_path.stat().st_size))
    flops = decoding_flops(arch, ids, arch.context_len - 1)
    return {"params": known.params, "body_params": body_parameters(arch), "size_bytes": known.size_bytes, "decoding_flops": flops}


def _scores(job: RecordJob, setup: ExperimentSetup, candidate: Candidate, subject: TrainingSubject) -> Row:
    config = setup.train.model_copy(update={"seed": candidate.seed})
    trainer = load_trainer(subject.corpus, candidate.design, config, setup.device, None)
    row: dict[str, Cell] = {}
    for step in sorted({*job.scored, *job.decayed}):
        for _ in trainer.run_to(step):
            pass
        row[at_step("train_seconds", step)] = trainer.seconds
        if step in job.scored:
            row[at_step("bits_per_byte", step)] = _score(setup, candidate, trainer, subject, trainer.averaged_weights())
        if step in job.decayed:
            row[at_step("bits_per_byte_decayed", step)] = _score_branch(job, setup, candidate, trainer, subject)
    return row


def _score_branch(job: RecordJob, setup: ExperimentSetup, candidate: Candidate, trainer: Trainer, subject: TrainingSubject) -> float:
    """The score of a branch whose learning rate decays; `trainer` and its clock continue from the root of the branch."""
    seconds = trainer.seconds
    steps = scoring_branch(trainer, max(1, round(job.decay * trainer.step)))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            scored: Scored = end.value
            trainer.seconds = seconds
            return _score(setup, candidate, trainer, subject, scored.weights)


def _score(
    setup: ExperimentSetup, candidate: Candidate, trainer: Trainer, subject: TrainingSubject, weights: Mapping[str, Tensor]
) -> float:
    stored = store(trainer, setup.checkpoint(candidate, trainer.step), subject, scored=Scored(weights, None))
    return score_stored(setup, subject.corpus, stored)


def _row_line(row: Row) -> str:
    """A row for the log."""
    if "failure" in row:
        return f"  {row['digest']} failed: {row['failure']}"
    last = [name for name in row if name.startswith("bits_per_byte")][-1]
    return f"  {row['digest']}: {row[last]:.3f} ({last}), {row['params']:,} parameters"


def _rows(job: RecordJob, setup: ExperimentSetup, todo: Sequence[Candidate], workers: int) -> Iterator[Row]:
    """The rows of `todo`, in order of completion."""
    if workers == 1:
        yield from (record_one(job, setup, candidate) for candidate in todo)
        return
    with worker_pool(workers) as pool:
        for done in as_completed([pool.submit(record_one, job, setup, candidate) for candidate in todo]):
            yield done.result()
