"""What a plan answers to "what next?": propose a candidate, train one, wait for those in training, or nothing, the search is done."""

from dataclasses import dataclass

from codenas.metrics import TrainingCurve
from codenas.search.candidate import Candidate, Failure, Refusal


@dataclass(slots=True, frozen=True)
class Job:
    """Train `candidate` until `rung` steps are done in all, from its last checkpoint."""

    candidate: Candidate
    rung: int

    def failed(self, reason: str, curve: TrainingCurve | None = None) -> Failure:
        """What becomes of the job where its candidate cannot be trained; `curve` is how far it came."""
        return Failure(index=self.candidate.index, rung=self.rung, reason=reason, repeat=self.candidate.repeat, curve=curve)


@dataclass(slots=True, frozen=True)
class Propose:
    """Enter `candidate` into the history, and `refusal` behind it where static metrics are outside a limit; then ask again."""

    candidate: Candidate
    refusal: Refusal | None = None


@dataclass(slots=True, frozen=True)
class Train:
    """Do `job`."""

    job: Job


@dataclass(slots=True, frozen=True)
class Wait:
    """What comes next depends on jobs that are running."""


@dataclass(slots=True, frozen=True)
class Done:
    """Nothing is left to do."""


Action = Propose | Train | Wait | Done
