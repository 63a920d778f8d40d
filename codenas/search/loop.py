"""The search without Ray: one job after the other, in this process. The cluster walks through the same plan."""

from collections.abc import Callable

from codenas.search.candidate import Outcome
from codenas.search.history import History
from codenas.search.plan import Job, Plan


def run_search(plan: Plan, history: History, run_job: Callable[[Job], Outcome]) -> History:
    """Do every job of `plan` that `history` does not hold yet; `run_job` says what became of it."""
    while (job := plan.next_job(history, ())) is not None:
        history.record(run_job(job))
    return history
