"""Warm start: the earlier runs whose trials a search may start from, those with comparable scores."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from codenas.errors import ConfigError, RunError, first_error
from codenas.experiment.jobs import SearchJob
from codenas.metrics import LATENCIES, context_name
from codenas.search.candidate import Trial, latency_contexts
from codenas.search.result import SearchFolder
from codenas.search.warm_start import WarmStart, collect_prior_trials

LOGGER = logging.getLogger("codenas")


def warm_start(job: SearchJob, corpus_digest: str, home: SearchFolder) -> WarmStart:
    """The trials of the runs that `job` names: the copy in `home` once it is claimed, before that read from the runs.

    They propose at most a quarter of the candidates.

    Raises:
        RunError: one is not a run, is `home` itself, or a file of it (or the copy) is damaged.
        ConfigError: one was searched on another corpus, or its scores are not comparable with those of `job`, or their
            latencies with each other.
    """
    if home.claimed() is not None:
        return home.warm_start()
    if not job.warm_start:
        return WarmStart()
    runs = {str(run): _trials(run, job, corpus_digest, home) for run in job.warm_start}
    _require_like_latencies(runs, job)
    return collect_prior_trials(runs, job.budget.rungs[0], job.search_space(), job.objectives, job.budget.candidates // 4)


def warm_start_line(warm_start: WarmStart) -> str:
    """The log line of a warm start."""
    runs = ", ".join(dict.fromkeys(trial.run for trial in warm_start.prior_trials)) or "no run"
    return (
        f"warm start: {len(warm_start.prior_trials)} candidates of {runs}, {len(warm_start.proposed)} designs of them proposed first; "
        f"{warm_start.skipped} outside this search's space were skipped"
    )


def _trials(run: Path, job: SearchJob, corpus_digest: str, home: SearchFolder) -> tuple[Trial, ...]:
    earlier = SearchFolder(run / "search")
    if os.path.realpath(earlier.path) == os.path.realpath(home.path):  # Path.resolve raises where links form a loop
        raise RunError(f"{run} is this run itself, and cannot warm-start it; it is resumed without")
    claim = earlier.claimed()
    if claim is None:
        raise RunError(f"{run} holds no search to start from; name the folder of a run, as it was given to --run")
    if claim.corpus != corpus_digest:
        raise _incomparable(run, "the digest of the corpus", claim.corpus[:12], corpus_digest[:12])
    try:
        theirs = _scoring(SearchJob.model_validate_json(claim.job))
    except (ValidationError, ConfigError) as error:
        reason = first_error(error) if isinstance(error, ValidationError) else str(error)
        raise RunError(f"the job of {run} cannot be read ({reason}); it is damaged, or of another version") from error
    ours = _scoring(job)
    for name in ours:
        if theirs[name] != ours[name]:
            raise _incomparable(run, name, theirs[name], ours[name])
    return earlier.history().trials


def _require_like_latencies(runs: Mapping[str, Sequence[Trial]], job: SearchJob) -> None:
    """Refuse runs with latencies that are not comparable with each other, if `job` weighs or limits latency.

    Where this search will measure its own is not known yet: those of another device do not count then (`WarmStart.comparable`).
    """
    if not any(each.metric in LATENCIES and (each.weight or each.limit is not None) for each in job.objectives):
        return
    found = {context: run for run, trials in runs.items() for context in latency_contexts(trials)}
    if len(found) > 1:
        places = " and ".join(f"{context_name(context)} ({run})" for context, run in found.items())
        raise ConfigError(f"latencies of the runs to start from are not comparable: they were measured on {places}; leave one out")
    for context in found:
        LOGGER.info(f"warm start: earlier latencies, of {context_name(context)}, count if this search measures its own there")


def _scoring(job: SearchJob) -> Mapping[str, Any]:
    """The settings on which scores at the first rung depend, beside corpus and design; without the seed, which may differ."""
    first = job.budget.rungs[0]
    return {
        "the first of budget.rungs": first,
        "trial.score_tokens": job.trial.score_tokens,
        "trial.score_decay at the first rung, in steps,": job.scoring_steps().get(first, 0),
        "trial.latency_tokens": job.trial.latency_tokens,
        **{f"train.{name}": value for name, value in job.train.model_dump(mode="json").items() if name != "seed"},
    }


def _incomparable(run: Path, name: str, theirs: object, ours: object) -> ConfigError:
    return ConfigError(
        f"{run} cannot warm-start this search: {name} is {theirs} there and {ours} here, and scores are comparable only if it is the same; "
        "search with the same, or leave that run out"
    )
