"""Candidates, their outcomes and the budget of a search. What is written to disk is a frozen model; a history is a list of events."""

import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.metrics import LatencyContext, Metrics, TrainingCurve
from codenas.seeds import derive


class Record(BaseModel):
    """Base of the records that a search stores."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(Record):
    """A design in a search. `index` counts proposals from 0; `seed` is that of its weights and batches.

    `repeat` is 0 for the first training; repeats 1, 2, ... train the same design with other seeds (`with_repeat`).
    """

    index: int
    design: Design
    origin: str
    parents: tuple[int, ...] = ()
    seed: int
    repeat: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _architecture_alone(cls, data: Any) -> Any:
        """Read candidates of earlier versions, which had an architecture and no other part of a design."""
        if isinstance(data, dict) and "arch" in data and "design" not in data:
            return {**{name: value for name, value in data.items() if name != "arch"}, "design": {"arch": data["arch"]}}
        return data

    @property
    def id(self) -> str:
        """The candidate's name in tables and folders."""
        return candidate_id(self.index) + (f".{self.repeat}" if self.repeat else "")

    @property
    def arch(self) -> ArchSpec:
        """The architecture that is trained."""
        return self.design.arch

    def with_repeat(self, repeat: int) -> Self:
        """This candidate as repeat number `repeat` (from 1), with the seed of that repeat."""
        return self.model_copy(update={"repeat": repeat, "seed": derive(self.seed, "repeat", repeat)})


def candidate_id(index: int) -> str:
    """The name of the candidate `index`."""
    return f"c{index:03d}"


class Report(Record):
    """The metrics of a candidate after `rung` steps.

    `steps` were trained for this report, not counting earlier rungs; `scoring_steps` only to score it, and are never resumed.
    `curve` is None in histories of earlier versions; `repeat` is that of the trained candidate.
    """

    event: Literal["report"] = "report"
    index: int
    rung: int
    steps: int
    scoring_steps: int = 0
    metrics: Metrics
    seconds: float
    checkpoint: str
    curve: TrainingCurve | None = Field(None, validation_alias=AliasChoices("curve", "course"))  # the latter in earlier versions
    repeat: int = 0


class Proposal(Record):
    """A candidate was added to the search."""

    event: Literal["proposal"] = "proposal"
    candidate: Candidate


class Refusal(Record):
    """A candidate violates a limit and was not trained; `metrics` holds what was measured or computed."""

    event: Literal["refusal"] = "refusal"
    index: int
    reason: str
    metrics: Metrics


class Failure(Record):
    """A candidate could not be trained to `rung` and is out of the search; a failed `repeat` does not remove its candidate."""

    event: Literal["failure"] = "failure"
    index: int
    rung: int
    reason: str
    curve: TrainingCurve | None = Field(None, validation_alias=AliasChoices("curve", "course"))  # the latter in earlier versions
    repeat: int = 0


Outcome = Report | Refusal | Failure
Event = Annotated[Proposal | Report | Refusal | Failure, Field(discriminator="event")]
EVENT: TypeAdapter[Proposal | Report | Refusal | Failure] = TypeAdapter(Event)


class Trial(Record):
    """A candidate with all its outcomes. Immutable: `after` returns a new one.

    `repeats` and `failed_repeats` are its trainings with other seeds, in order of their numbers.
    """

    candidate: Candidate
    reports: tuple[Report, ...] = ()
    refusal: Refusal | None = None
    failure: Failure | None = None
    repeats: tuple[Report, ...] = ()
    failed_repeats: tuple[Failure, ...] = ()

    @property
    def all_reports(self) -> tuple[Report, ...]:
        """All reports, repeats included."""
        return (*self.reports, *self.repeats)

    def trainings(self, rung: int) -> tuple[Report, ...]:
        """The reports after `rung` steps of all its seeds, the first seed first."""
        return tuple(report for report in self.all_reports if report.rung == rung)

    def repeated(self, repeat: int) -> bool:
        """Whether repeat number `repeat` is finished or failed."""
        return repeat in {*(report.repeat for report in self.repeats), *(failure.repeat for failure in self.failed_repeats)}

    @property
    def stopped(self) -> bool:
        """Whether the trial was refused or failed: it is not trained further."""
        return self.refusal is not None or self.failure is not None

    def report(self, rung: int) -> Report | None:
        """Its report after `rung` steps; None before."""
        return next((report for report in self.reports if report.rung == rung), None)

    def settled(self, rung: int) -> bool:
        """Whether it has reported at `rung`, or is stopped and never will."""
        return self.stopped or self.report(rung) is not None

    @property
    def last(self) -> Report | None:
        """Its report of the highest rung."""
        return max(self.reports, key=lambda report: report.rung, default=None)

    def up_to(self, rung: int) -> Self:
        """The trial as it was before it was trained beyond `rung`."""
        reports = tuple(report for report in self.reports if report.rung <= rung)
        failure = self.failure if self.failure is not None and self.failure.rung <= rung else None
        changed = reports != self.reports or failure != self.failure
        return self.model_copy(update={"reports": reports, "failure": failure}) if changed else self

    def after(self, outcome: Outcome) -> Self:
        """The trial with `outcome` added. If a rung is reported twice (a retry after a kill), the first report counts."""
        if not isinstance(outcome, Refusal) and outcome.repeat:
            return self._after_repeat(outcome)
        if isinstance(outcome, Report):
            known = self.report(outcome.rung) is not None
            return self if known else self.model_copy(update={"reports": (*self.reports, outcome)})
        field = "refusal" if isinstance(outcome, Refusal) else "failure"
        return self.model_copy(update={field: outcome})

    def _after_repeat(self, outcome: Report | Failure) -> Self:
        if self.repeated(outcome.repeat):
            return self
        if isinstance(outcome, Report):
            return self.model_copy(update={"repeats": tuple(sorted((*self.repeats, outcome), key=lambda report: report.repeat))})
        failed = sorted((*self.failed_repeats, outcome), key=lambda failure: failure.repeat)
        return self.model_copy(update={"failed_repeats": tuple(failed)})


def latency_contexts(trials: Iterable[Trial]) -> list[LatencyContext | None]:
    """The distinct contexts in which the latencies of `trials` were measured; they are comparable only if there is one."""
    metrics = [report.metrics for trial in trials for report in trial.all_reports]
    return list(dict.fromkeys(each.latency_context for each in metrics if each.latency_ms_p50 is not None))


class Budget(Record):
    """The rungs of a search in training steps, and how many candidates are promoted from each but the last.

    With `least` promotion is adaptive: at least so many are promoted and at most `promote`, see `codenas.search.adaptive`. At the end the
    `repeated` fittest are trained again to the last rung, with `repeats` other seeds each.
    """

    candidates: int = Field(24, ge=1, description="trained to the first rung")
    rungs: tuple[int, ...] = Field((50, 300), min_length=1, description="training steps after which candidates are scored")
    promote: tuple[int, ...] = Field((6,), description="promoted from each rung but the last; at most, if `least` is given")
    least: tuple[int, ...] = Field((), description="promoted at least; makes promotion adaptive")
    repeats: int = Field(0, ge=0, description="other seeds with which the best finalists are trained; 0: ties are not assessed")
    repeated: int = Field(3, ge=2, description="finalists that are repeated, at least two")

    @model_validator(mode="after")
    def _ladder_rises(self) -> Self:
        if any(rung < 1 for rung in self.rungs) or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs {list(self.rungs)} must be positive and rise, as [50, 300] do")
        if len(self.promote) != len(self.rungs) - 1:
            raise ValueError(f"promote {list(self.promote)} must have one number for each of the rungs {list(self.rungs)} but the last")
        widths = (self.candidates, *self.promote)
        if any(width < 1 for width in widths) or any(a < b for a, b in itertools.pairwise(widths)):
            raise ValueError(
                f"promote {list(self.promote)} of {self.candidates} candidates: each number must be at least 1 and no larger than the one "
                "before; set promote as well as candidates"
            )
        return self

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.least and len(self.least) != len(self.promote):
            raise ValueError(f"least {list(self.least)} must bound each of the promotions {list(self.promote)} from below, or none")
        if any(width < 1 for width in self.least) or any(a < b for a, b in itertools.pairwise(self.least)):
            raise ValueError(f"least {list(self.least)} must be positive and not grow")
        if any(least > most for least, most in zip(self.least, self.promote, strict=False)):
            raise ValueError(f"least {list(self.least)} is above the promotions {list(self.promote)}, which bound it; lower it")
        return self

    @property
    def adaptive(self) -> bool:
        """Whether the scores decide how many are promoted."""
        return self.at_least != self.promote

    @property
    def at_least(self) -> tuple[int, ...]:
        """A lower bound of the promotions from each rung but the last."""
        return self.least or self.promote

    @property
    def total_steps(self) -> int:
        """Training steps of a whole search in which no candidate is refused or fails; at most, if promotion is adaptive."""
        widths = (self.candidates, *self.promote)
        starts = (0, *self.rungs)
        promoted = sum(width * (stop - start) for width, start, stop in zip(widths, starts, self.rungs, strict=False))
        return promoted + self.repeat_trainings(widths[-1]) * self.rungs[-1]

    def repeat_trainings(self, finalists: int) -> int:
        """Repeats to train if there are `finalists` finalists."""
        return self.repeats * min(self.repeated, finalists)
