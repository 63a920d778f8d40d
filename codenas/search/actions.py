"""The actions that a plan returns: propose a candidate, train one, wait for running jobs, or done."""

from dataclasses import dataclass

from codenas.metrics import TrainingCurve
from codenas.search.candidate import Candidate, Failure, Refusal


@dataclass(slots=True, frozen=True)
class Job:
    """Train `candidate` from its last checkpoint until it has `rung` steps in total."""

    candidate: Candidate
    rung: int

    def failed(self, reason: str, curve: TrainingCurve | None = None) -> Failure:
        """The outcome of the job if its candidate cannot be trained; `curve` is the training curve up to the failure."""
        return Failure(index=self.candidate.index, rung=self.rung, reason=reason, repeat=self.candidate.repeat, curve=curve)


@dataclass(slots=True, frozen=True)
class Propose:
    """Add `candidate` to the history, and its `refusal` if a static metric violates a limit; then ask for the next action."""

    candidate: Candidate
    refusal: Refusal | None = None


@dataclass(slots=True, frozen=True)
class Train:
    """Run `job`."""

    job: Job


@dataclass(slots=True, frozen=True)
class Wait:
    """The next action depends on running jobs."""


@dataclass(slots=True, frozen=True)
class Done:
    """The search is finished."""


Action = Propose | Train | Wait | Done
