"""Searches without models, as their files tell them."""

import contextlib
from functools import cache

from codenas.errors import BudgetError
from codenas.metrics import Metrics, TrainingCurve
from codenas.report.page_data import Event, SearchRecord
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Failure, Proposal, Report
from codenas.search.config import SearchConfig
from codenas.search.fitness import Objective
from codenas.search.history import History, history_of
from codenas.search.result import Effort, conclude
from tests.search.synthetic import VOCAB_SIZE, Curves, next_job

BUDGET = Budget(candidates=12, rungs=(10, 30, 90), promote=(6, 4))
OBJECTIVES = (
    Objective(metric="bits_per_byte", weight=1.0),
    Objective(metric="size_bytes", limit=50e6),
    Objective(metric="latency_ms_p50", limit=2.5),
)


@cache
def searched(refused: float = 0.0, failed: float = 0.0, latency: bool = True, curve: bool = True, until: int | None = None) -> SearchRecord:
    """A search over the tiny preset; with `until` only its first events, and no result."""
    config = SearchConfig(space="tiny", strategy="evolution", budget=BUDGET, objectives=OBJECTIVES)
    plan, curves = config.plan(VOCAB_SIZE), Curves(BUDGET, refused, failed)
    history, events = History(), list[Event]()
    with contextlib.suppress(BudgetError):  # everybody was refused: the search ends so
        while (job := next_job(plan, history)) is not None:
            events += _proposals(history, events)
            outcome = curves(job)
            if isinstance(outcome, Report):
                kept = outcome.metrics if latency else outcome.metrics.model_copy(update={"latency_ms_p50": None})
                outcome = outcome.model_copy(update={"metrics": kept, "curve": _curve(job, len(events)) if curve else None})
            history.add_outcome(outcome)
            events.append(outcome)
    events = events[:until]
    trials = history_of(events).trials
    finished = until is None and any(trial.report(90) for trial in trials)
    result = conclude(plan, history_of(events), Effort(2, 60.0, 100, 90.0)) if finished else None
    return SearchRecord("runs/it", "corpora/mine", config.model_dump(mode="json"), config, events, trials, result, {None: VOCAB_SIZE})


def hostile(text: str) -> SearchRecord:
    """A search whose every name and reason is `text`."""
    found = searched()
    last = found.events[-1]
    assert isinstance(last, Report)
    events = [_renamed(event, text) for event in found.events[:-1]]
    curve = TrainingCurve(worker=text, started=0.0, seconds=1.0, losses=((1, 2.0),))
    events.append(Failure(index=last.index, rung=last.rung, reason=text, curve=curve))
    return SearchRecord(text, text, {"space": text}, found.config, events, history_of(events).trials, None, found.vocab_sizes)


def metrics_of(found: SearchRecord, index: int, rung: int) -> Metrics:
    """What candidate `index` was worth."""
    report = found.trials[index].report(rung)
    assert report is not None
    return report.metrics


def _proposals(history: History, events: list[Event]) -> list[Event]:
    """The candidates of `history` that entered since the last of `events`."""
    known = sum(isinstance(event, Proposal) for event in events)
    return [Proposal(candidate=trial.candidate) for trial in history.trials[known:]]


def _renamed(event: Event, origin: str) -> Event:
    if not isinstance(event, Proposal):
        return event
    return Proposal(candidate=event.candidate.model_copy(update={"origin": origin}))


def _curve(job: Job, number: int) -> TrainingCurve:
    below = max((rung for rung in BUDGET.rungs if rung < job.rung), default=0)
    losses = tuple((step, 6.0 - step / 50) for step in range(below + 5, job.rung + 1, 5))
    return TrainingCurve(worker=f"host:{number % 2}", started=1_000.0 + number, seconds=1.5, losses=losses)
