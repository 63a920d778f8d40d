"""States of trainings are removed when no training needs them, and not before: over searches with any workers in any order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from codenas.metrics import Metrics
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Candidate, Failure, Outcome, Report, Trial
from codenas.search.history import History
from codenas.search.resumable import SPARE, resumable_rungs
from tests.contracts.test_rungs import QUALITY, SCENARIOS
from tests.search.synthetic import VOCAB_SIZE, Pool, make_plan

WORKERS = 3
PROMOTING = [name for name, scenario in SCENARIOS.items() if scenario.plan.budget.promote]


@dataclass  # without slots, which would make another class than the one that super() knows
class Disk(Pool):
    """Workers that store a state at the end of every job, and resume from it.

    Attributes:
        states: on the disk, of (candidate, rung).
        peak: the most at a time.
        missed: trainings whose state had been removed.
    """

    states: set[tuple[int, int]] = field(default_factory=set)
    peak: int = 0
    missed: set[tuple[int, int]] = field(default_factory=set)

    def _ask(self, history: History, running: list[Job]) -> Job | None:
        reported = {(trial.candidate.index, report.rung) for trial in history.trials for report in trial.reports}
        self.peak = max(self.peak, len(self.states))
        self.states -= reported - resumable_rungs(history.trials, self.plan.budget, self.plan.objectives)
        job = super()._ask(history, running)
        for each in [*running, *([job] if job is not None else [])]:
            self._resume(each)
        return job

    def _resume(self, job: Job) -> None:
        below = max((rung for rung in self.plan.budget.rungs if rung < job.rung), default=0)
        if below and not job.candidate.repeat and (job.candidate.index, below) not in self.states:
            self.missed.add((job.candidate.index, below))


def searched(name: str, seed: int) -> Disk:
    scenario = SCENARIOS[name]
    disk = Disk(scenario.plan, lambda job: stored(job), WORKERS, random.Random(seed))

    def stored(job: Job) -> Outcome:
        outcome = scenario.outcome(job)
        if isinstance(outcome, Report) and not outcome.repeat:
            disk.states.add((outcome.index, outcome.rung))
        return outcome

    disk.run()
    return disk


@pytest.mark.parametrize("name", PROMOTING)
@pytest.mark.parametrize("seed", range(5))
def test_no_training_misses_its_state_and_few_are_kept(name: str, seed: int) -> None:
    disk, budget = searched(name, seed), SCENARIOS[name].plan.budget
    assert disk.missed == set()
    assert disk.peak <= (SPARE + 1) * (WORKERS + budget.promote[0])


def trials(scores: Sequence[float | None], candidates: Sequence[Candidate], rung: int = 50) -> list[Trial]:
    """Candidates and what they scored at `rung`; None of one that is in training."""
    return [
        Trial(candidate=candidate) if score is None else Trial(candidate=candidate, reports=(report(candidate.index, rung, score),))
        for candidate, score in zip(candidates, scores, strict=True)
    ]


def report(index: int, rung: int, score: float) -> Report:
    return Report(index=index, rung=rung, steps=rung, metrics=Metrics(bits_per_byte=score), seconds=1.0, checkpoint=f"c{index:03d}/{rung}")


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    plan, history = make_plan(Budget(candidates=6, rungs=(50, 300), promote=(2,)), "random", objectives=QUALITY), History()
    assert plan.vocab_size == VOCAB_SIZE
    while len(history) < 6:
        action = plan.next(history)
        history.propose(action.candidate if hasattr(action, "candidate") else pytest.fail("nothing is proposed"))
        if history.open:
            history.add_outcome(report(history.open[0], 50, 1.0))
    return [trial.candidate for trial in history.trials]


BUDGET = Budget(candidates=6, rungs=(50, 300), promote=(2,))


@pytest.mark.parametrize(("scores", "kept"), [
    ([3.0, None, None, None, None, None], {0}),
    ([3.0, 2.0, 1.0, None, None, None], {1, 2}),
    ([3.0, 2.0, 1.0, 4.0, 5.0, 0.5], {2, 5}),
])  # fmt: skip
def test_under_one_objective_who_is_not_among_the_best_cannot_return(
    scores: list[float | None], kept: set[int], candidates: list[Candidate]
) -> None:
    assert resumable_rungs(trials(scores, candidates), BUDGET, QUALITY) == {(index, 50) for index in kept}


def test_a_promoted_candidate_needs_its_newest_state_alone(candidates: list[Candidate]) -> None:
    found = trials([3.0, 2.0, 1.0, 4.0, 5.0, 0.5], candidates)
    found[5] = found[5].after(report(5, 300, 0.4))
    assert resumable_rungs(found, BUDGET, QUALITY) == {(2, 50), (5, 300)}


def test_a_failed_candidate_needs_none(candidates: list[Candidate]) -> None:
    found = trials([3.0, 2.0, 1.0, 4.0, 5.0, 0.5], candidates)
    found[5] = found[5].after(Failure(index=5, rung=300, reason="diverged"))
    assert resumable_rungs(found, BUDGET, QUALITY) == {(2, 50)}
