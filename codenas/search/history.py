"""The history of a search: an append-only file of events, from which everything else is computed."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from codenas.errors import RunError, first_error
from codenas.files import append_line, is_complete_json
from codenas.search.candidate import EVENT, Candidate, Outcome, Proposal, Refusal, Report, Trial


class History:
    """The trials of a search, in order of proposal. With a path, every event is written to disk before it takes effect.

    `publish` is called with every new event, as its line in the file, after the line is written.
    """

    def __init__(self, path: Path | None = None, publish: Callable[[str], None] | None = None) -> None:
        self._path, self._publish = path, publish
        self._trials: list[Trial] = []
        self._digests: set[str] = set()
        self._open: dict[int, None] = {}
        self._refused: list[int] = []
        self._reports: list[Report] = []
        self._best: float | None = None
        if path is not None and path.exists():
            for event in read_events(path):
                self._apply(event)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials; the one at position i has index i."""
        return tuple(self._trials)

    @property
    def open(self) -> tuple[int, ...]:
        """The candidates without a report, refusal or failure, in the order of their proposal."""
        return tuple(self._open)

    @property
    def reports(self) -> tuple[Report, ...]:
        """All reports of first seeds, in the order in which they were written; of a rung that was reported twice the first."""
        return tuple(self._reports)

    @property
    def best_bits_per_byte(self) -> float | None:
        """The lowest of all reports; None before the first."""
        return self._best

    def refused(self, before: int | None = None) -> int:
        """How many candidates were refused: of those with an index below `before`, or of all."""
        return len(self._refused) if before is None else bisect_left(self._refused, before)

    def has_design(self, digest: str) -> bool:
        """Whether the design of some candidate has this digest."""
        return digest in self._digests

    def __len__(self) -> int:
        return len(self._trials)

    def propose(self, candidate: Candidate) -> None:
        """Add `candidate`, whose index must be the next one."""
        self._append(Proposal(candidate=candidate))

    def add_outcome(self, outcome: Outcome) -> None:
        """Add the outcome of a candidate."""
        self._append(outcome)

    def _append(self, event: Proposal | Outcome) -> None:
        self._check(event)  # first: an invalid event must not be written
        line = event.model_dump_json() if self._path or self._publish else ""
        if self._path is not None:
            append_line(self._path, line)
        self._apply(event)
        if self._publish is not None:
            self._publish(line)

    def _check(self, event: Proposal | Outcome) -> None:
        misplaced = _misplaced(event, len(self._trials))
        if misplaced is not None:
            raise RunError(f"{misplaced}; restore the history")

    def _apply(self, event: Proposal | Outcome) -> None:
        if isinstance(event, Proposal):
            self._trials.append(Trial(candidate=event.candidate))
            self._digests.add(event.candidate.design.digest)
            self._open[event.candidate.index] = None
        else:
            self._open.pop(event.index, None)
            if isinstance(event, Refusal) and self._trials[event.index].refusal is None:
                insort(self._refused, event.index)
            if isinstance(event, Report):
                self._update_reports(event)
            self._trials[event.index] = self._trials[event.index].after(event)

    def _update_reports(self, report: Report) -> None:
        if not report.repeat and self._trials[report.index].report(report.rung) is None:
            self._reports.append(report)
        if (bits := report.metrics.bits_per_byte) is not None:
            self._best = bits if self._best is None else min(self._best, bits)


def history_of(events: Iterable[Proposal | Outcome]) -> History:
    """The history of `events`, in memory only."""
    history = History()
    for event in events:
        if isinstance(event, Proposal):
            history.propose(event.candidate)
        else:
            history.add_outcome(event)
    return history


def read_events(path: Path) -> Iterator[Proposal | Outcome]:
    """The events in the file at `path`, in order; an incomplete last line is left out.

    Raises:
        RunError: a line is no event, or cannot follow those before it.
    """
    candidates = 0
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not is_complete_json(line):
            continue
        try:
            event = EVENT.validate_json(line)
        except ValidationError as error:
            raise RunError(f"{path}, line {number} is no event of a search: {first_error(error)}; restore the file") from error
        misplaced = _misplaced(event, candidates)
        if misplaced is not None:
            raise RunError(
                f"{path}, line {number}: {misplaced}, so a line before it is lost or damaged; "
                f"restore the file, or remove {path.parent} to search again"
            )
        candidates += isinstance(event, Proposal)
        yield event


def _misplaced(event: Proposal | Outcome, candidates: int) -> str | None:
    """Why `event` cannot be the next one of a history of so many candidates; None if it can."""
    if isinstance(event, Proposal):
        if event.candidate.index == candidates:
            return None
        return f"the history has {candidates} candidates; number {event.candidate.index} cannot come next"
    if 0 <= event.index < candidates:
        return None
    return f"the history has {candidates} candidates and an event of number {event.index}"
