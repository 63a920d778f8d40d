"""A search without models: learning curves from a formula, and a pool of workers that finish in any order."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from codenas.arch import SearchSpace, preset
from codenas.arch.cost import parameters, stored_bytes
from codenas.metrics import Metrics
from codenas.search.actions import Job, Train, Wait
from codenas.search.candidate import Budget, Outcome, Refusal, Report
from codenas.search.fitness import DEFAULT_OBJECTIVES, Objective
from codenas.search.history import History
from codenas.search.loop import next_action
from codenas.search.plan import Plan
from codenas.search.strategies.registry import strategy

VOCAB_SIZE = 512
SMALL_SPACE = SearchSpace(base=preset("tiny").base, choices={"n_layers": (2, 3), "norm": ("layernorm", "rmsnorm")})


def make_plan(
    budget: Budget,
    name: str = "evolution",
    lookback: int = 4,
    space: SearchSpace | None = None,
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES,
) -> Plan:
    """The plan of a search over the tiny preset unless `space` says otherwise."""
    return Plan(space or preset("tiny"), strategy(name), budget, objectives, VOCAB_SIZE, lookback=lookback)


def next_job(plan: Plan, history: History, running: Collection[Job] = ()) -> Job | None:
    """The next training, its candidate proposed in `history`; None while it waits for those that run, and at the end."""
    action = next_action(plan, history, running)
    return action.job if isinstance(action, Train) else None


@dataclass(slots=True, frozen=True)
class Curves:
    """What becomes of every job, a function of the architecture alone; shares of candidates are refused or fail."""

    budget: Budget
    refused: float = 0.0
    failed: float = 0.0

    def __call__(self, job: Job) -> Outcome:
        """Learning curves that cross: what is ahead at a low rung is not always ahead at a high one."""
        index, arch, repeat = job.candidate.index, job.candidate.arch, job.candidate.repeat
        luck = random.Random(f"{arch.digest} {job.rung}" + (f" {job.candidate.seed}" if repeat else ""))
        if not repeat and job.rung == self.budget.rungs[0] and luck.random() < self.refused:
            return Refusal(index=index, reason="latency_ms_p50 9 is outside its limit", metrics=Metrics(latency_ms_p50=9.0))
        if luck.random() < self.failed:
            return job.failed("diverged")
        shape = random.Random(arch.digest)
        bits = shape.uniform(1.0, 2.0) + shape.uniform(2.0, 6.0) * job.rung ** -shape.uniform(0.2, 0.6)
        bits += luck.uniform(0.0, 0.1) if repeat else 0.0
        metrics = Metrics(
            bits_per_byte=bits,
            params=parameters(arch, VOCAB_SIZE),
            size_bytes=stored_bytes(arch, VOCAB_SIZE),
            latency_ms_p50=shape.uniform(0.5, 3.0),
        )
        below = 0 if repeat else max((rung for rung in self.budget.rungs if rung < job.rung), default=0)
        place = f"{job.candidate.id}/{job.rung}"
        return Report(
            index=index, rung=job.rung, steps=job.rung - below, metrics=metrics, seconds=1.0, checkpoint=place, repeat=job.candidate.repeat
        )


@dataclass(slots=True)
class Pool:
    """Workers that take jobs and finish them in a random order; with a file the driver is killed now and then.

    Attributes:
        handed_out: every job that a worker took, in order; one that was lost with the driver is there again.
    """

    plan: Plan
    outcome: Callable[[Job], Outcome]
    workers: int
    rng: random.Random
    path: Path | None = None
    kills: float = 0.0
    handed_out: list[Job] = field(default_factory=list)

    def run(self) -> History:
        """Search to the end, checking every answer of the plan."""
        history, running = History(self.path), list[Job]()
        while True:
            if self.path is not None and self.rng.random() < self.kills:
                history, running = self._killed(), []
            job = self._ask(history, running) if len(running) < self.workers else None
            if job is not None:
                self.handed_out.append(job)
                running.append(job)
            elif not running:
                return history
            if running and (job is None or self.rng.random() < 0.5):
                history.add_outcome(self.outcome(running.pop(self.rng.randrange(len(running)))))

    def _ask(self, history: History, running: list[Job]) -> Job | None:
        busy = {job.candidate.index for job in running if not job.candidate.repeat}
        repeating = {(job.candidate.index, job.candidate.repeat) for job in running if job.candidate.repeat}
        events = history.trials
        assert self.plan.next(history, running) == self.plan.next(history, running), "asking twice gives the same answer"
        assert history.trials == events, "a plan writes nothing"
        action = next_action(self.plan, history, running)
        assert isinstance(action, Train | Wait) or not running, "a search is not done while jobs run"
        assert not isinstance(action, Wait) or running, "nobody waits for nothing"
        job = action.job if isinstance(action, Train) else None
        if job is not None and job.candidate.repeat:
            again = history.trials[job.candidate.index]
            assert job.candidate == again.candidate.with_repeat(job.candidate.repeat)
            assert (job.candidate.index, job.candidate.repeat) not in repeating, "nobody does a job that somebody is doing"
            assert not again.repeated(job.candidate.repeat), "nothing is trained twice"
            assert job.rung == self.plan.budget.rungs[-1] and again.report(job.rung), "only finalists are repeated"
        elif job is not None:
            trial = history.trials[job.candidate.index]
            assert trial.candidate == job.candidate
            assert job.candidate.index not in busy, "nobody does a job that somebody is doing"
            assert not trial.stopped, "the refused and the failed are not trained"
            assert trial.report(job.rung) is None, "nothing is trained twice"
            rungs = self.plan.budget.rungs
            assert all(trial.report(rung) for rung in rungs[: rungs.index(job.rung)]), "rungs are climbed one by one"
        return job

    def _killed(self) -> History:
        """The history as another driver finds it; the kill may have torn the line that was being written."""
        assert self.path is not None
        if self.path.exists() and self.rng.random() < 0.5:
            with self.path.open("ab") as file:
                file.write(b'{"event":"report","index":0,"ru')
        return History(self.path)
