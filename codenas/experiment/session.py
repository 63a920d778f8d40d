"""The lifecycle of a search, with and without Ray: claim the folder, resume, write the result."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from codenas.corpus import Corpus
from codenas.errors import BudgetError, ConfigError, NoWinnerError, RunError, first_error
from codenas.experiment.jobs import SearchJob, migrated_job
from codenas.experiment.messages import calibration_line, mixed_latencies_line, promotion_counts, update_total
from codenas.experiment.mirror import Mirror
from codenas.experiment.run import Run
from codenas.experiment.rung import remove_training_states
from codenas.experiment.splits import require_windows, verify_corpus
from codenas.experiment.warm_start import warm_start, warm_start_line
from codenas.log import Progress
from codenas.measure.latency_model import Calibration
from codenas.search.history import History
from codenas.search.limits import require_reachable
from codenas.search.plan import Plan
from codenas.search.result import Effort, SearchFolder, SearchResult, conclude, trained_steps
from codenas.search.static_metrics import VocabularySize
from codenas.search.warm_start import WarmStart
from codenas.vocab.bpe import SMALLEST_SIZE

LOGGER = logging.getLogger("codenas")

Work = Callable[[SearchJob, Plan, History, Corpus, SearchFolder], Effort]


def run_resumable(
    job: SearchJob, corpus: Corpus, home: SearchFolder, work: Work, mirror: Mirror | None = None
) -> tuple[SearchResult, History]:
    """Run `work` to complete the history in `home` or its `mirror`; a finished search is returned at once."""
    plan = checked_plan(job, corpus, home, mirror)  # first: an infeasible search must not claim the folder
    home.claim(job.model_dump_json(), corpus.manifest.digest, migrated_job, plan.warm_start, job.search_space().digest)
    if mirror is not None:
        mirror.push(home)
    finished = home.finished()
    if finished is not None:
        LOGGER.info(f"search: {home.path} is finished")
        if mirror is not None:
            mirror.fetch(_winner_checkpoint(*finished), home.checkpoints)
        return finished
    home.require_space(job.search_space().digest)
    for each in corpora_of(job, corpus).values():
        verify_corpus(each)
    if plan.warm_start != WarmStart():
        LOGGER.info(warm_start_line(plan.warm_start))
    if job.calibration is not None:
        LOGGER.info(calibration_line(Calibration.load(job.calibration)))
    history = home.history(mirror.append if mirror is not None else None)
    try:
        result = conclude(plan, history, work(job, plan, history, corpus, home))
    except (BudgetError, NoWinnerError) as error:
        home.finish_without_winner(str(error))
        raise
    if (mixed := mixed_latencies_line(history.trials)) is not None:
        LOGGER.warning(mixed)
    home.finish(result)
    if mirror is not None:
        mirror.push(home)
        mirror.fetch(_winner_checkpoint(result, history), home.checkpoints)  # another node may have trained it
        mirror.remove_training_states(history, keep=_winner_checkpoint(result, history))
    remove_training_states(home.checkpoints, keep=home.checkpoints / _winner_checkpoint(result, history))
    return result, history


def _winner_checkpoint(result: SearchResult, history: History) -> str:
    """The checkpoint of the winner."""
    winner = history.trials[result.winner].last
    assert winner is not None
    return winner.checkpoint


def checked_plan(job: SearchJob, corpus: Corpus, home: SearchFolder, mirror: Mirror | None = None) -> Plan:
    """The plan of `job` on `corpus` in `home`; needs no Ray.

    Writes nothing except files of the same search that are in `mirror` and not in `home`.

    Raises:
        BudgetError: no architecture can meet a limit.
        ConfigError: the calibration cannot be read, or a run to start from is not comparable.
        CorpusError: the corpus lacks a vocabulary of the space, or a context of the space is longer than the corpus.
        RunError: `home` or `mirror` holds another search, or a run to start from cannot be read.
    """
    if mirror is not None:
        mirror.require_own(job.model_dump_json(), corpus.manifest.digest, migrated_job)
        mirror.pull(home)
    home.require_own(job.model_dump_json(), corpus.manifest.digest, migrated_job)
    plan = plan_on(job, corpus)
    require_reachable(plan.space, plan.static_metrics, plan.objectives, plan.seed)
    return replace(plan, warm_start=warm_start(job, corpus.manifest.digest, home))


def plan_on(job: SearchJob, corpus: Corpus) -> Plan:
    """The plan of `job` on `corpus`, without what earlier searches found.

    Raises:
        ConfigError: the calibration cannot be read.
        CorpusError: the corpus lacks a vocabulary of the space, or a context of the space is longer than the corpus.
    """
    corpora = corpora_of(job, corpus)
    for each in corpora.values():
        require_windows(each, max(job.search_space().context_lens))
    own, named = _size(corpus), {name: _size(each) for name, each in corpora.items() if name is not None}
    return job.plan(own.ids, own.stored_bytes, job.min_latency_ms(), named)


def open_mirror(run: Run, url: str | None) -> Mirror | None:
    """The mirror of `run`: at `url`, or the recorded one; None without one.

    Raises:
        RunError: the search is mirrored elsewhere than at `url`.
        ConfigError: the URL is not supported, or cannot be written to.
    """
    if url is not None:
        run.require_mirror(url)
    url = url or run.mirror
    if url is None:
        return None
    mirror = Mirror(url)
    mirror.require_writable()
    return mirror


def job_to_resume(run: Run, mirror: Mirror | None, corpus: Path | None) -> SearchJob:
    """The job of the search in `run`; a new machine reads it from `mirror`, and must name the folder of its `corpus`.

    Raises:
        RunError: there is no search, or its corpus is not where it was.
        ConfigError: the job is of another version.
    """
    home = SearchFolder(run.search)
    if mirror is not None:
        mirror.pull(home)
    job = recorded_job(home)
    if mirror is not None and corpus is None and not run.corpus.exists():
        raise RunError(f"the corpus of {run.folder} is not at {run.corpus} on this machine; name it with --mirror {mirror.url} --corpus")
    return job


def recorded_job(home: SearchFolder) -> SearchJob:
    """The job of the search in `home`.

    Raises:
        RunError: there is none.
        ConfigError: it is of another version.
    """
    asked = home.job()
    try:
        return SearchJob.model_validate_json(asked)
    except (ValidationError, ConfigError) as error:
        reason = first_error(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"the job in {home.path} cannot be read ({reason}); it is damaged, or of another version") from error


def require_feasible(job: SearchJob) -> None:
    """Refuse a job that is infeasible with any corpus, before one is prepared; `checked_plan` checks more once there is one.

    The configured vocabulary size would be a tighter bound than the smallest one, but is not guaranteed: from a small source a
    vocabulary gets fewer ids (`warn_unreachable`). Only limits that are harder to meet with more ids are checked.

    Raises:
        BudgetError: no architecture can meet a limit, however small the vocabulary.
        ConfigError: the calibration cannot be read.
    """
    try:
        _require_reachable(job, dict.fromkeys((None, *job.search_space().vocabularies), SMALLEST_SIZE))
    except BudgetError as error:
        raise BudgetError(f"{error} (with a vocabulary of {SMALLEST_SIZE} ids, the smallest; a larger one takes more)") from None


def warn_unreachable(job: SearchJob, asked: Mapping[str | None, int]) -> None:
    """Warn, before a corpus is prepared, if no design is feasible with the configured ids of each vocabulary, `asked` (None: its own).

    Raises:
        ConfigError: the calibration cannot be read.
    """
    try:
        _require_reachable(job, asked)
    except BudgetError as error:
        ids = ", ".join(f"{count:,}" for count in dict.fromkeys(asked.values()))
        LOGGER.warning(f"{error} (with the {ids} configured ids; it is possible only if the source is too small for so many)")


def _require_reachable(job: SearchJob, ids: Mapping[str | None, int]) -> None:
    """Raises: BudgetError: no architecture with so many ids can meet a limit that more ids make harder to meet."""
    named = {name: VocabularySize(ids[name]) for name in job.search_space().vocabularies if name is not None}
    plan = job.plan(ids[None], min_latency_ms=job.min_latency_ms(), vocabularies=named)
    require_reachable(plan.space, plan.static_metrics, [each for each in plan.objectives if each.direction == "minimize"], plan.seed)


def corpora_of(job: SearchJob, corpus: Corpus) -> dict[str | None, Corpus]:
    """`corpus` in every vocabulary of the space of `job`.

    Raises:
        CorpusError: it lacks one.
    """
    return {name: corpus.with_vocabulary(name) for name in job.search_space().vocabularies}


def _size(corpus: Corpus) -> VocabularySize:
    return VocabularySize(corpus.manifest.vocab_size, corpus.tokenizer_path.stat().st_size)


def search_progress(job: SearchJob, plan: Plan, history: History, workers: int) -> Progress:
    """Log the budget of the search and return its progress bar, in training steps."""
    asha = job.scheduler == "asha"
    done, budget = trained_steps(history), plan.budget
    promoted = "ASHA" if asha else promotion_counts(budget)
    repeats = f"the best {budget.repeated} again with {budget.repeats} other seeds, " if budget.repeats else ""
    LOGGER.info(
        f"search: {budget.candidates} candidates to {budget.rungs[0]} steps, {promoted} promoted, {repeats}"
        f"{'at most ' if asha or budget.adaptive else ''}{budget.total_steps:,} steps in all, {done:,} done, {workers} at a time"
    )
    progress = Progress("search", budget.total_steps, initial=done, at_most=asha)
    update_total(progress, plan, history)
    return progress
