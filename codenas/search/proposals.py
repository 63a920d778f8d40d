"""The next proposal.

Candidate k is proposed from the results of the candidates before k - `lookback` only, once all of these are settled. So a proposal
does not depend on the order in which they finish, and up to `lookback` candidates train at the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from codenas.arch.design import Design
from codenas.search.actions import Propose, Wait
from codenas.search.candidate import Candidate, Refusal, Trial, latency_contexts
from codenas.search.design_space import observations
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.limits import all_refused, refusal_reason
from codenas.search.static_metrics import StaticMetrics
from codenas.search.strategies.base import Problem, Strategy, Suggestion
from codenas.search.warm_start import WarmStart
from codenas.seeds import derive, stream

_REDRAWS = 100  # proposals that repeat a candidate, in a row, before the space counts as exhausted
_REFUSALS = 60  # refused candidates before the limits count as infeasible


@dataclass(slots=True, frozen=True)
class Proposals:
    """The proposal rule.

    Attributes:
        candidates: the number of candidates, not counting refused ones.
        rung: the first rung, whose reports the strategy observes.
    """

    problem: Problem[Design]
    strategy: Strategy
    objectives: tuple[Objective, ...]
    static_metrics: StaticMetrics
    warm_start: WarmStart
    candidates: int
    rung: int
    lookback: int
    seed: int

    def next(self, history: History) -> Propose | Wait | None:
        """The next candidate; None if there is no other.

        Raises:
            BudgetError: there is no other, and all of them violated a limit.
        """
        if not self._may_propose(history):
            return None
        if any(index < self._visible_count(history) for index in history.open):
            return Wait()
        candidate = self._candidate(history)
        if candidate is None:
            self._require_accepted(history)
            return None
        reason = refusal_reason(self.static_metrics, candidate.design, self.objectives)
        if reason is None:
            return Propose(candidate)
        return Propose(candidate, Refusal(index=candidate.index, reason=reason, metrics=self.static_metrics.counted(candidate.design)))

    def _may_propose(self, history: History) -> bool:
        """Whether another candidate may be proposed; refused ones do not count, up to a maximum."""
        # Only visible candidates count: the state of the latest depends on the order in which they finish.
        if history.refused(before=self._visible_count(history)) >= _REFUSALS:
            self._require_accepted(history)
            return False
        return len(history) - history.refused() < self.candidates

    def _require_accepted(self, history: History) -> None:
        refused = [trial for trial in history.trials if trial.refusal is not None]
        if refused and len(refused) == len(history):
            raise all_refused(refused, self.static_metrics, self.objectives)

    def _visible_count(self, history: History) -> int:
        """How many candidates, from the first on, a proposal may use."""
        return max(0, len(history) - self.lookback)

    def _visible_trials(self, history: History) -> tuple[Trial, ...]:
        """The trials as a proposal sees them: results up to the first rung of the visible ones, and only the designs of the latest.

        Results of promotions are left out: how many there are depends on the order in which trials finish.
        """
        first, trials = self._visible_count(history), history.trials
        settled = (trial.up_to(self.rung) for trial in trials[:first])
        return (*settled, *(Trial(candidate=trial.candidate) for trial in trials[first:]))

    def _candidate(self, history: History) -> Candidate | None:
        """A new candidate; None if the space holds none."""
        index = len(history)
        if index < len(self.warm_start.proposed):
            return self._numbered(Suggestion(self.warm_start.proposed[index], "warm start"), index)
        rng = stream(self.seed, "proposal", index)
        own = self._visible_trials(history)
        shown = [*self._comparable_warm_start(own).observations(self.objectives), *observations(own, self.rung, self.objectives)]
        for _ in range(_REDRAWS):
            suggestion = self.strategy.ask(self.problem, shown, 1, rng)[0]
            if not history.has_design(suggestion.point.digest):
                return self._numbered(suggestion, index)
        return None

    def _comparable_warm_start(self, own: Sequence[Trial]) -> WarmStart:
        """The warm start with latencies only of the device on which this search measures its own."""
        contexts = latency_contexts(own)
        return self.warm_start.comparable(contexts, self.objectives) if contexts else self.warm_start

    def _numbered(self, suggestion: Suggestion[Design], index: int) -> Candidate:
        # Every candidate trains with the same seed, so that they are comparable: the same random stream of weights and the same batches.
        seed = derive(self.seed, "training")
        parents = tuple(parent for parent in suggestion.parents if parent >= 0)  # negative ones are prior trials
        return Candidate(index=index, design=suggestion.point, origin=suggestion.origin, parents=parents, seed=seed)
