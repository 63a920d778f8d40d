"""Which candidate enters a search next.

Candidate k is proposed from what came of those before k - `lookback` only, once they are all settled: so a proposal does not depend
on who finishes first, and `lookback` candidates are in training at the same time.
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

_REDRAWS = 100  # proposals that repeat a candidate, in a row, before the space counts as used up
_REFUSALS = 60  # refused candidates before the limits count as out of reach


@dataclass(slots=True, frozen=True)
class Proposals:
    """The rule.

    Attributes:
        candidates: how many enter in all; refused ones do not count.
        rung: the first one, whose reports the strategy is shown.
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
        """The next candidate; None where no other enters.

        Raises:
            BudgetError: no other enters, and all that did were outside the limits.
        """
        if not self._room(history):
            return None
        if any(index < self._visible(history) for index in history.open):
            return Wait()
        candidate = self._candidate(history)
        if candidate is None:
            self._require_accepted(history)
            return None
        reason = refusal_reason(self.static_metrics, candidate.design, self.objectives)
        if reason is None:
            return Propose(candidate)
        return Propose(candidate, Refusal(index=candidate.index, reason=reason, metrics=self.static_metrics.counted(candidate.design)))

    def _room(self, history: History) -> bool:
        """Whether another candidate may enter; refused ones take no place, until there are too many of them."""
        # Too many of those that a proposal looks at: how much is known of the latest depends on who finishes first.
        if history.refused(before=self._visible(history)) >= _REFUSALS:
            self._require_accepted(history)
            return False
        return len(history) - history.refused() < self.candidates

    def _require_accepted(self, history: History) -> None:
        refused = [trial for trial in history.trials if trial.refusal is not None]
        if refused and len(refused) == len(history):
            raise all_refused(refused, self.static_metrics, self.objectives)

    def _visible(self, history: History) -> int:
        """How many candidates a proposal looks at, the first ones."""
        return max(0, len(history) - self.lookback)

    def _shown(self, history: History) -> tuple[Trial, ...]:
        """What a proposal looks at: what came of the first ones, and that the latest were proposed.

        Not what came of early promotions: how many there are depends on who finishes first.
        """
        first, trials = self._visible(history), history.trials
        settled = (trial.up_to(self.rung) for trial in trials[:first])
        return (*settled, *(Trial(candidate=trial.candidate) for trial in trials[first:]))

    def _candidate(self, history: History) -> Candidate | None:
        """None where the space holds no new one."""
        index = len(history)
        if index < len(self.warm_start.proposed):
            return self._numbered(Suggestion(self.warm_start.proposed[index], "warm start"), index)
        rng = stream(self.seed, "proposal", index)
        own = self._shown(history)
        shown = [*self._comparable_warm_start(own).observations(self.objectives), *observations(own, self.rung, self.objectives)]
        for _ in range(_REDRAWS):
            suggestion = self.strategy.ask(self.problem, shown, 1, rng)[0]
            if not history.has_design(suggestion.point.digest):
                return self._numbered(suggestion, index)
        return None

    def _comparable_warm_start(self, own: Sequence[Trial]) -> WarmStart:
        """The warm start with latencies only of the device on which this search measures its own."""
        contexts = latency_contexts(own)
        return self.warm_start.comparable(contexts[0], self.objectives) if contexts else self.warm_start

    def _numbered(self, suggestion: Suggestion[Design], index: int) -> Candidate:
        # Every candidate trains with the same seed: the same weights' stream, batches and order, so that they compare.
        seed = derive(self.seed, "training")
        parents = tuple(parent for parent in suggestion.parents if parent >= 0)  # others are of earlier searches
        return Candidate(index=index, design=suggestion.point, origin=suggestion.origin, parents=parents, seed=seed)
