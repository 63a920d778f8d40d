"""A mirror of a search at a URL, from which any machine can restore the run folder.

    job.json, warm_start.json, result.json    as in the folder
    trials/                                   the events, see `codenas.experiment.event_log`
    checkpoints/<id>/<rung>/                  stored candidates; a checkpoint is complete when its manifest is there

A checkpoint is stored before its report. The events of one side are always a prefix of those of the other.
"""

from collections.abc import Callable, Generator
from pathlib import Path

from pydantic import ValidationError

from codenas.checkpoint import MANIFEST, TOKENIZER, TRAINING, WEIGHTS, Checkpoint, stored_at
from codenas.errors import CheckpointError, RunError, first_error
from codenas.experiment.event_log import EventLog
from codenas.experiment.objects import Objects
from codenas.files import atomic_folder, is_complete_json, sha256_file, write_atomic
from codenas.search.actions import Job
from codenas.search.candidate import EVENT, Outcome, Report
from codenas.search.history import History
from codenas.search.result import CLAIM, RESULT, TRIALS, WARM_START, Claim, SearchFolder
from codenas.train.curve import Step

_PROBE = "writable"  # an object that is written and removed


class Mirror:
    """The stored search at `url`. All methods may raise as those of `Objects`."""

    def __init__(self, url: str) -> None:
        self._objects = Objects(url)
        self._log = EventLog(self._objects)

    @property
    def url(self) -> str:
        """Its URL."""
        return self._objects.url

    def require_writable(self) -> None:
        """Check that objects can be written and removed there, before the work whose result they are.

        Raises:
            ResourceError: they cannot.
        """
        self._objects.write(_PROBE, b"")
        self._objects.remove(_PROBE)

    def require_own(self, job: str, corpus_digest: str, present: Callable[[str], str]) -> None:
        """Check that no search is stored there, or the one of `job` on a corpus; see `SearchFolder.require_own`.

        Raises:
            RunError: another search is stored there.
        """
        content = self._objects.read(CLAIM)
        if content is None:
            return
        try:
            claim = Claim.model_validate_json(content)
        except ValidationError as error:
            raise RunError(f"{self._objects}/{CLAIM} cannot be read ({first_error(error)}); choose another --mirror") from error
        if not claim.is_of(job, corpus_digest, present):
            raise RunError(f"{self._objects} holds a search with another job or another corpus; choose another --mirror")

    def pull(self, home: SearchFolder) -> None:
        """Download claim, history and result to `home` if it lacks them. Checkpoints are downloaded when they are needed.

        Raises:
            RunError: they belong to another search, or the histories have diverged.
        """
        self._pull_claim(home)
        self._log.read()
        theirs, own = list(self._log.events), _own_events(home)
        if own[: len(theirs)] != theirs[: len(own)]:
            at = next(number for number, (left, right) in enumerate(zip(own, theirs, strict=False), 1) if left != right)
            raise RunError(
                f"{home.path / TRIALS} and {self._objects} differ from event {at} on, of {len(own)} and {len(theirs)}: the search "
                f"continued elsewhere; remove {home.path} to continue from the mirror, or choose another --mirror"
            )
        if len(theirs) > len(own):
            write_atomic(home.path / TRIALS, b"".join(event + b"\n" for event in theirs))
        result = self._objects.read(RESULT)
        if result is not None and not (home.path / RESULT).exists():
            write_atomic(home.path / RESULT, result)

    def push(self, home: SearchFolder) -> None:
        """Upload claim, history and result if they are missing there, and the checkpoints that the history names; after `pull`."""
        if self._objects.read(CLAIM) is None:
            for name in (WARM_START, CLAIM):  # the claim refers to the other
                if (home.path / name).exists():
                    self._objects.upload(name, home.path / name)
        missing = _own_events(home)[len(self._log.events) :]
        for event in map(EVENT.validate_json, missing):
            if isinstance(event, Report):
                self.put_checkpoint(event.checkpoint, home.checkpoints)
        self._log.append(missing)
        if (home.path / RESULT).exists() and self._objects.read(RESULT) is None:
            self._objects.upload(RESULT, home.path / RESULT)

    def append(self, event: str) -> None:
        """Append the next event of the history.

        Raises:
            RunError: another process has appended one in the meantime.
        """
        self._log.append([event.encode()])

    def remove_training_states(self, history: History, keep: str) -> None:
        """Remove the training states of every stored rung of `history` except `keep`, as in the folder."""
        for report in (report for trial in history.trials for report in trial.all_reports):
            if report.checkpoint != keep:
                self.remove_training_state(report.checkpoint)

    def remove_training_state(self, checkpoint: str) -> None:
        """Remove what only a resumed training needs from one checkpoint."""
        self._objects.remove(f"checkpoints/{checkpoint}/{TRAINING}")

    def prepare(self, job: Job, checkpoints: Path) -> None:
        """Download the checkpoint from which `job` resumes: its own rung, if only the report was lost, or the one below.

        Raises:
            RunError: the folder around `checkpoints` belongs to another search.
            CheckpointError: a stored checkpoint is damaged.
        """
        self._pull_claim(SearchFolder(checkpoints.parent))
        stored = self._objects.names(f"checkpoints/{job.candidate.id}")
        rungs = sorted((int(name) for name in stored if name.isdecimal() and int(name) <= job.rung), reverse=True)
        for rung in rungs:
            whole = self.fetch(f"{job.candidate.id}/{rung}", checkpoints)
            if whole and rung < job.rung:
                return

    def fetch(self, name: str, checkpoints: Path) -> bool:
        """Download checkpoint `name` to `checkpoints` unless it is there; False if there is no complete one of this name.

        Raises:
            CheckpointError: it is damaged.
        """
        if stored_at(checkpoints / name) is not None:
            return True
        files = self._objects.names(f"checkpoints/{name}")
        if MANIFEST not in files:
            return False
        with atomic_folder(checkpoints / name) as folder:
            for file in files & {MANIFEST, WEIGHTS, TOKENIZER, TRAINING}:
                self._objects.download(f"checkpoints/{name}/{file}", folder / file)
            self._require_written(name, folder)
        return True

    def put_checkpoint(self, name: str, checkpoints: Path) -> None:
        """Upload checkpoint `name` of `checkpoints` unless it is there; its manifest last."""
        if MANIFEST in self._objects.names(f"checkpoints/{name}"):
            return
        for file in (WEIGHTS, TOKENIZER, TRAINING, MANIFEST):
            if (checkpoints / name / file).exists():
                self._objects.upload(f"checkpoints/{name}/{file}", checkpoints / name / file)

    def _pull_claim(self, home: SearchFolder) -> None:
        """Check that `home` and this belong to the same search; an unclaimed folder is claimed for it."""
        theirs, path = self._objects.read(CLAIM), home.path / CLAIM
        if theirs is None:
            return
        if path.exists():
            if path.read_bytes() != theirs:
                raise RunError(f"{home.path} and {self._objects} hold two searches; choose another --run or another --mirror")
            return
        warm_start = self._objects.read(WARM_START)
        if warm_start is not None:
            write_atomic(home.path / WARM_START, warm_start)
        write_atomic(path, theirs)

    def _require_written(self, name: str, folder: Path) -> None:
        try:
            checkpoint = Checkpoint.open(folder)
            checkpoint.verify()
            whole = not (folder / TRAINING).exists() or sha256_file(folder / TRAINING) == checkpoint.manifest.training_sha256
        except CheckpointError:  # its message would name a temporary folder
            whole = False
        if not whole:
            raise CheckpointError(f"{self._objects}/checkpoints/{name} is damaged; restore it, or remove it there to train it again")


def mirrored(steps: Generator[Step, None, Outcome], url: str | None, job: Job, checkpoints: Path) -> Generator[Step, None, Outcome]:
    """The training steps of `job`, with a download of the checkpoint that it resumes before and an upload of the new one after."""
    if url is None:
        return (yield from steps)
    mirror = Mirror(url)
    mirror.prepare(job, checkpoints)
    outcome = yield from steps
    if isinstance(outcome, Report):
        mirror.put_checkpoint(outcome.checkpoint, checkpoints)
    return outcome


def _own_events(home: SearchFolder) -> list[bytes]:
    path = home.path / TRIALS
    return [line for line in path.read_bytes().split(b"\n") if is_complete_json(line)] if path.exists() else []
