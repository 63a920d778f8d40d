"""The result of a search, and the folder that holds it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.errors import NoWinnerError, RunError, first_error
from codenas.files import sha256_file, write_atomic
from codenas.search.fidelity import Fidelity, fidelities
from codenas.search.history import History
from codenas.search.plan import Plan
from codenas.search.repeats import select_winner
from codenas.search.warm_start import WarmStart

LOGGER = logging.getLogger("codenas")

CLAIM, WARM_START, TRIALS, RESULT = "job.json", "warm_start.json", "trials.jsonl", "result.json"  # of a search, in its folder
NO_WINNER = "no_winner.json"
_MAX_NAMED = 4  # settings in which two jobs differ that an error names


class SearchResult(BaseModel):
    """The result of a search. Candidates are referred to by index.

    Attributes:
        finalists: those that reached the last rung, in the order of their promotion.
        steps: training steps of all sessions; `scoring_steps` are additional, on branches that score a rung.
        wall_seconds: of the session that finished the search; `session_steps` were trained in it.
        training_share: of that session: worker time inside training steps / (workers x wall time).
        elsewhere_seconds: worker time outside of training steps, by activity; empty if it was not recorded.
        repeats: trainings of finalists with other seeds; `failed_repeats` more could not be trained.
        repeated: the finalists with repeats, best first; empty with a single seed, where ties are not assessed.
        ties: those of them that do not differ significantly from the winner.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    winner: int
    finalists: tuple[int, ...]
    steps: int
    scoring_steps: int = 0
    trained: int
    refused: int
    failed: int
    workers: int
    wall_seconds: float
    session_steps: int
    training_share: float
    elsewhere_seconds: dict[str, float] = {}
    fidelity: tuple[Fidelity, ...]
    repeats: int = 0
    failed_repeats: int = 0
    repeated: tuple[int, ...] = ()
    ties: tuple[int, ...] = ()


@dataclass(slots=True, frozen=True)
class Effort:
    """What one session of a search cost: `step_seconds` is the time that all workers spent inside training steps.

    `elsewhere_seconds` is their other time, by activity.
    """

    workers: int
    wall_seconds: float
    steps: int
    step_seconds: float
    elsewhere_seconds: Mapping[str, float] = field(default_factory=dict)


def conclude(plan: Plan, history: History, effort: Effort) -> SearchResult:
    """The result of a search that has ended.

    Raises:
        NoWinnerError: no candidate reached the last rung, or none that did is inside the limits on trained metrics.
    """
    rungs = plan.budget.rungs
    finalists = [trial for trial in plan.finalists(history, len(rungs) - 1) if trial.report(rungs[-1])]
    if not finalists:
        failures = [trial.failure.reason for trial in history.trials if trial.failure]
        raise NoWinnerError(f"no candidate reached {rungs[-1]} steps; the last failure: {failures[-1] if failures else 'none'}")
    selection = select_winner(finalists, plan.budget, plan.objectives)
    return SearchResult(
        winner=selection.winner.candidate.index,
        finalists=tuple(trial.candidate.index for trial in finalists),
        steps=trained_steps(history),
        scoring_steps=sum(report.scoring_steps for trial in history.trials for report in trial.all_reports),
        trained=sum(trial.report(rungs[0]) is not None for trial in history.trials),
        refused=sum(trial.refusal is not None for trial in history.trials),
        failed=sum(trial.failure is not None for trial in history.trials),
        workers=effort.workers,
        wall_seconds=effort.wall_seconds,
        session_steps=effort.steps,
        training_share=effort.step_seconds / max(effort.wall_seconds * effort.workers, 1e-9),
        elsewhere_seconds={name: round(seconds, 3) for name, seconds in effort.elsewhere_seconds.items()},
        fidelity=fidelities(history.trials, rungs),
        repeats=sum(len(trial.repeats) for trial in history.trials),
        failed_repeats=sum(len(trial.failed_repeats) for trial in history.trials),
        repeated=tuple(trial.candidate.index for trial in selection.repeated),
        ties=tuple(trial.candidate.index for trial in selection.ties),
    )


def trained_steps(history: History) -> int:
    """Training steps behind all reports."""
    return sum(report.steps for trial in history.trials for report in trial.all_reports)


class NoWinner(BaseModel):
    """Why a search ended without a winner. It is asked again when the search is resumed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    reason: str


class Claim(BaseModel):
    """What a folder was claimed for: a job as JSON, and the digest of the corpus that it works on.

    `warm_start` is the digest of the file with the trials of earlier searches; empty without one. `space` is that of the search space:
    a job may only name a preset, which another version may define otherwise. Earlier versions wrote none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    corpus: str
    warm_start: str = ""
    space: str = ""

    def is_of(self, job: str, corpus_digest: str, present: Callable[[str], str] = str) -> bool:
        """Whether it is that of `job` on a corpus; `present` writes the job of an earlier version as this version does."""
        return (present(self.job), self.corpus) == (job, corpus_digest)

    def differences(self, job: str, corpus_digest: str, present: Callable[[str], str] = str) -> list[str]:
        """The settings that differ from `job` and its corpus, such as `seed 0 instead of 1`: at most four, and how many more."""
        earlier, current = (_settings(each) for each in (present(self.job), job))
        changed = [
            f"{key} {earlier.get(key, 'unset')} instead of {current.get(key, 'unset')}"
            for key in (*earlier, *(key for key in current if key not in earlier))
            if earlier.get(key) != current.get(key)
        ]
        if earlier and self.corpus != corpus_digest:
            changed.append("another corpus")
        return [*changed[:_MAX_NAMED], f"{len(changed) - _MAX_NAMED} more"] if len(changed) > _MAX_NAMED else changed


@dataclass(slots=True, frozen=True)
class SearchFolder:
    """The folder of a search: its job (job.json), warm start (warm_start.json), history, checkpoints and result."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of candidates, `<id>/<rung>`."""
        return self.path / "checkpoints"

    def history(self, publish: Callable[[str], None] | None = None) -> History:
        """The history; `publish` is called with every event that is added from now on."""
        return History(self.path / TRIALS, publish)

    def require_own(self, job: str, corpus_digest: str, present: Callable[[str], str] = str) -> None:
        """Check that the folder is unclaimed, or belongs to `job` on a corpus: trials of two searches must not be mixed.

        A search of which nothing was trained yet gives way to any other.

        Args:
            present: rewrites the job of the claim, perhaps of an earlier version, as this version writes it.

        Raises:
            RunError: it belongs to another search.
        """
        claim = self._claim_of_another(job, corpus_digest, present)
        if claim is not None and not self._is_untrained():
            different = claim.differences(job, corpus_digest, present)
            raise RunError(
                f"{self.path} holds a search with another job or another corpus; choose another --run, or remove {self.path}; "
                f"to go on with it as it was asked: codenas search --resume {self.path.parent}"
                f"{'; it was asked with ' if different else ''}{', '.join(different)}"
            )

    def require_space(self, digest: str) -> None:
        """Check that the search in this folder, if there is one, has the search space of this digest.

        Raises:
            RunError: it has another one, though its job is the same.
        """
        claim = self.claimed()
        if claim is not None and claim.space not in ("", digest):
            raise RunError(
                f"the search in {self.path} began in another search space, which this version of CodeNAS defines otherwise under the same "
                "name; go on with the version that it began with, or choose another --run"
            )

    def claim(
        self,
        job: str,
        corpus_digest: str,
        present: Callable[[str], str] = str,
        warm_start: WarmStart | None = None,
        space_digest: str = "",
    ) -> None:
        """Make the folder that of `job` on a corpus, which starts from `warm_start`; see `require_own`.

        Raises:
            RunError: it belongs to another search.
        """
        self.require_own(job, corpus_digest, present)
        path = self.path / CLAIM
        if self._claim_of_another(job, corpus_digest, present) is not None:
            for name in (TRIALS, NO_WINNER, CLAIM, WARM_START):
                (self.path / name).unlink(missing_ok=True)
        if (self.path / NO_WINNER).exists():  # unlink would fail in a folder that may only be read
            (self.path / NO_WINNER).unlink(missing_ok=True)
        if path.exists():
            return
        digest = ""
        if warm_start is not None and warm_start != WarmStart():
            write_atomic(self._warm_start_file, warm_start.model_dump_json(indent=1))  # before the claim that names it
            digest = sha256_file(self._warm_start_file)
        claim = Claim(job=job, corpus=corpus_digest, warm_start=digest, space=space_digest)
        write_atomic(path, claim.model_dump_json(indent=2))

    def _claim_of_another(self, job: str, corpus_digest: str, present: Callable[[str], str]) -> Claim | None:
        try:
            claim = self.claimed()
        except RunError:  # a claim that cannot be read is none of this search
            return Claim(job="", corpus="")
        return None if claim is None or claim.is_of(job, corpus_digest, present) else claim

    def _is_untrained(self) -> bool:
        """Whether the folder holds proposals at most: no report, no checkpoint, and nothing that a search does not write."""
        others = {path.name for path in self.path.iterdir()} - {CLAIM, WARM_START, TRIALS, NO_WINNER, self.checkpoints.name}
        if others or any(self.checkpoints.glob("*/*")):
            return False
        try:
            return not any(trial.all_reports for trial in self.history().trials)
        except RunError:  # a damaged history may have held some
            return False

    @property
    def _warm_start_file(self) -> Path:
        return self.path / WARM_START

    def warm_start(self) -> WarmStart:
        """The trials that were copied from earlier searches when the folder was claimed.

        Raises:
            RunError: the copy was changed.
        """
        claim = self.claimed()
        if claim is None or not claim.warm_start:
            return WarmStart()
        if not self._warm_start_file.is_file() or sha256_file(self._warm_start_file) != claim.warm_start:
            raise RunError(
                f"{self._warm_start_file} is not the warm start of this search; restore it, or remove {self.path} to search again"
            )
        return WarmStart.model_validate_json(self._warm_start_file.read_bytes())

    def claimed(self) -> Claim | None:
        """What the folder was claimed for; None before.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / CLAIM
        if not path.exists():
            return None
        try:
            return Claim.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} cannot be read: {first_error(error)}; restore it, or choose another run") from error

    def job(self) -> str:
        """The job, as JSON.

        Raises:
            RunError: there is none, or the file cannot be read.
        """
        claim = self.claimed()
        if claim is None:
            raise RunError(f"{self.path} holds no search; run `codenas search` first")
        return claim.job

    def result(self) -> SearchResult | None:
        """The result; None before the end.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / RESULT
        if not path.exists():
            return None
        try:
            return SearchResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} cannot be read: {first_error(error)}; remove it, the search then concludes again") from error

    def finished(self) -> tuple[SearchResult, History] | None:
        """The result and the history; None before the end.

        Raises:
            RunError: one of the files cannot be read, or they belong to different searches.
        """
        result = self.result()
        if result is None:
            return None
        history = self.history()
        held, trials = trained_steps(history), self.path / TRIALS
        lost = [index for index in (result.winner, *result.finalists) if not (0 <= index < len(history) and history.trials[index].last)]
        if lost or held != result.steps:
            what = f"has no report of candidate {lost[0]}" if lost else f"holds {held:,} training steps of {result.steps:,}"
            raise RunError(
                f"{trials} {what}, which {self.path / 'result.json'} counts; restore the two, or remove {self.path} to search again"
            )
        return result, history

    def no_winner(self) -> str | None:
        """Why the search ended without a winner, when it was last run; None if it did not.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / NO_WINNER
        if not path.exists():
            return None
        try:
            return NoWinner.model_validate_json(path.read_bytes()).reason
        except ValidationError as error:
            raise RunError(f"{path} cannot be read: {first_error(error)}; remove it, the search then concludes again") from error

    def finish_without_winner(self, reason: str) -> None:
        """Write why there is no winner."""
        write_atomic(self.path / NO_WINNER, NoWinner(reason=reason).model_dump_json(indent=2))

    def finish(self, result: SearchResult) -> None:
        """Store the result."""
        write_atomic(self.path / RESULT, result.model_dump_json(indent=2))


def _settings(job: str) -> dict[str, str]:
    """The values of a job by the path of their key, as JSON; none where it cannot be read."""
    try:
        return dict(_flat(json.loads(job)))
    except ValueError:
        return {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and (value or not path):
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path else key)
    elif path == "objectives":
        for each in value:
            yield from _flat({key: one for key, one in each.items() if key != "metric"}, f"{path}.{each['metric']}")
    elif path:
        yield path, json.dumps(value)
