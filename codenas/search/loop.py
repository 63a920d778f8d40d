"""The sequential search loop, without Ray. A search on a cluster follows the same plan."""

from collections.abc import Callable, Collection

from codenas.log import LOGGER
from codenas.search.actions import Done, Job, Propose, Train, Wait
from codenas.search.candidate import Candidate, Outcome, Refusal
from codenas.search.history import History
from codenas.search.plan import Plan


def next_action(plan: Plan, history: History, running: Collection[Job] = ()) -> Train | Wait | Done:
    """The next action while the jobs `running` are in progress; candidates that are proposed meanwhile are added to `history`."""
    while isinstance(action := plan.next(history, running), Propose):
        history.propose(action.candidate)
        if action.refusal is not None:
            history.add_outcome(action.refusal)
            LOGGER.info(refusal_line(action.candidate, action.refusal))
    return action


def refusal_line(candidate: Candidate, refusal: Refusal) -> str:
    """The log line of a candidate that violates a limit."""
    return f"  {candidate.id} ({candidate.origin}) refused: {refusal.reason}"


def run_search(plan: Plan, history: History, run_job: Callable[[Job], Outcome]) -> History:
    """Run the remaining jobs of `plan`; `run_job` returns the outcome of one."""
    while isinstance(action := next_action(plan, history), Train):
        history.add_outcome(run_job(action.job))
    return history
