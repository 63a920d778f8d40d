"""The history of a search: an append-only file of events is the truth, everything else is computed from it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from codenas.errors import RunError, first_fault
from codenas.files import append_line, is_whole
from codenas.search.candidate import EVENT, Candidate, Outcome, Proposal, Report, Trial


class History:
    """The trials of a search, in order of proposal. With a path every event is on the disk before it counts."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._trials: list[Trial] = []
        self._reports: list[Report] = []
        if path is not None and path.exists():
            for event in _read(path):
                self._check(event)
                self._apply(event)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials; the one at position i has index i."""
        return tuple(self._trials)

    @property
    def reports(self) -> tuple[Report, ...]:
        """All reports, in the order in which they were written; of a rung that was reported twice the first."""
        return tuple(self._reports)

    def __len__(self) -> int:
        return len(self._trials)

    def propose(self, candidate: Candidate) -> None:
        """Enter `candidate`, whose index must be the next one."""
        self._record(Proposal(candidate=candidate))

    def record(self, outcome: Outcome) -> None:
        """Note what became of a candidate."""
        self._record(outcome)

    def _record(self, event: Proposal | Outcome) -> None:
        self._check(event)  # first: an event that is refused must not be in the file
        if self._path is not None:
            append_line(self._path, event.model_dump_json())
        self._apply(event)

    def _check(self, event: Proposal | Outcome) -> None:
        count = len(self._trials)
        if isinstance(event, Proposal):
            if event.candidate.index != count:
                raise RunError(f"the history has {count} candidates; number {event.candidate.index} cannot come next")
        elif not 0 <= event.index < count:
            raise RunError(f"the history has {count} candidates and an event of number {event.index}; restore the file")

    def _apply(self, event: Proposal | Outcome) -> None:
        if isinstance(event, Proposal):
            self._trials.append(Trial(candidate=event.candidate))
        else:
            if isinstance(event, Report) and self._trials[event.index].report(event.rung) is None:
                self._reports.append(event)
            self._trials[event.index] = self._trials[event.index].after(event)


def _read(path: Path) -> Iterator[Proposal | Outcome]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not is_whole(line):
            continue
        try:
            yield EVENT.validate_json(line)
        except ValidationError as error:
            raise RunError(f"{path}, line {number} is no event of a search: {first_fault(error)}; restore the file") from error
