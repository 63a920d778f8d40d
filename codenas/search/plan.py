"""What to do next in a search: a pure function of its history, so that it can be interrupted and resumed anywhere.

The outcome does not depend on who finishes first. Candidate k is proposed from what came of those before k - `lookback` only,
once they are all settled; promotion waits for the whole rung, but for those whom nobody can push out any more, and adaptive
promotion for the reports that it looks at. With `lookback` at least twice the number of workers nobody waits in practice, and any
number of workers, in any order, with any interruptions, walks through the same search.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.metrics import Course
from codenas.search.candidate import Budget, Candidate, Failure, Refusal, Trial
from codenas.search.design_space import DesignSpace, goals, seen
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.limits import all_refused, refusal_reason
from codenas.search.repeats import to_repeat
from codenas.search.rungs import going_on, promoted
from codenas.search.static_metrics import CAPACITY, MinLatency, StaticMetrics, VocabularySize
from codenas.search.strategies.base import Idea, Problem, Strategy
from codenas.search.warm_start import WarmStart
from codenas.seeds import derive, stream

_REDRAWS = 100  # proposals that repeat a candidate, in a row, before the space counts as used up
_REFUSALS = 60  # refused candidates before the limits count as out of reach


@dataclass(slots=True, frozen=True)
class Job:
    """Train `candidate` until `rung` steps are done in all, from its last checkpoint."""

    candidate: Candidate
    rung: int

    def failed(self, reason: str, course: Course | None = None) -> Failure:
        """What becomes of the job where its candidate cannot be trained; `course` is how far it came."""
        return Failure(index=self.candidate.index, rung=self.rung, reason=reason, repeat=self.candidate.repeat, course=course)


@dataclass(slots=True, frozen=True)
class Plan:
    """The rules of one search.

    Attributes:
        vocab_size: ids of the corpus's own vocabulary; `tokenizer_bytes` are stored beside the weights.
        vocabularies: the others that designs of the space may name.
        min_latency_ms: a lower bound of the latency, of an architecture and a vocabulary size; None where no device is calibrated.
        lookback: the most recent candidates of which a proposal knows no more than that they were proposed.
        warm_start: what earlier searches learned.
    """

    space: SearchSpace
    strategy: Strategy
    budget: Budget
    objectives: tuple[Objective, ...]
    vocab_size: int
    tokenizer_bytes: int = 0
    min_latency_ms: MinLatency | None = None
    seed: int = 0
    lookback: int = 4
    vocabularies: Mapping[str, VocabularySize] = field(default_factory=dict)
    warm_start: WarmStart = field(default_factory=WarmStart)

    @property
    def statics(self) -> StaticMetrics:
        """The static metrics of its designs."""
        return StaticMetrics(VocabularySize(self.vocab_size, self.tokenizer_bytes), self.vocabularies, self.min_latency_ms)

    def problem(self) -> Problem[Design]:
        """What the strategy is asked about."""
        return Problem(DesignSpace(self.space, cache(self.statics.figures)), goals(self.objectives), CAPACITY)

    def next_job(self, history: History, running: Collection[int], repeating: Collection[tuple[int, int]] = ()) -> Job | None:
        """The next job that nobody does yet; None when every open one waits for those that run.

        `running` are the indices of candidates in training, `repeating` those of candidates and their repeats in training.
        Records proposals and closed-form refusals in `history`. No job while nothing runs means: the search is over.

        Raises:
            BudgetError: candidate after candidate is outside the limits.
        """
        first = self.budget.rungs[0]
        for index in history.open:
            if index not in running:
                return Job(history.trials[index].candidate, first)
        while self._room(history):
            if not self._can_see(history):
                return None
            candidate = self._propose(history)
            if candidate is None:
                self._require_accepted(history)
                break
            if not history.trials[candidate.index].stopped:
                return Job(candidate, first)
        return self._next_promotion(history, running) or (None if running else self._next_repeat(history, repeating))

    def finished(self, history: History) -> bool:
        """Whether nothing is left to do."""
        return self.next_job(history, ()) is None

    def finalists(self, history: History, rung_number: int) -> list[Trial]:
        """Those who go on to rung `rung_number` (1 is the second rung), best first."""
        trials = list(history.trials)
        for number in range(1, rung_number + 1):
            trials, _ = going_on(trials, self.budget, number, self.objectives)
        return trials

    def _next_promotion(self, history: History, running: Collection[int]) -> Job | None:
        trials = list(history.trials)
        for number, (below, rung) in enumerate(pairwise(self.budget.rungs), 1):
            unsettled = sum(not trial.settled(below) for trial in trials)
            trials, closed = self._sure(trials, number, unsettled)
            # The longest first: a long job that starts last would leave the other workers idle.
            waiting = [trial for trial in trials if not trial.settled(rung) and trial.candidate.index not in running]
            if waiting:
                return Job(max(waiting, key=lambda trial: self.statics.trained_parameters(trial.candidate.design)).candidate, rung)
            if not closed:
                return None
        return None

    def _next_repeat(self, history: History, repeating: Collection[tuple[int, int]]) -> Job | None:
        """The next training with another seed, once the finalists are known: nothing else is left to do."""
        if not self.budget.repeats:
            return None
        chosen = to_repeat(self.finalists(history, len(self.budget.rungs) - 1), self.budget, self.objectives)
        for trial in sorted(
            chosen, key=lambda trial: -self.statics.trained_parameters(trial.candidate.design)
        ):  # the longest first, as above
            for repeat in range(1, self.budget.repeats + 1):
                if not trial.repeated(repeat) and (trial.candidate.index, repeat) not in repeating:
                    return Job(trial.candidate.again(repeat), self.budget.rungs[-1])
        return None

    def _sure(self, trials: list[Trial], number: int, unsettled: int) -> tuple[list[Trial], bool]:
        """Those of `trials` who go on to rung `number` whatever the `unsettled` ones will report, and whether nobody will follow.

        Under one objective each of them can push out one at most; among several a newcomer may change the whole order.
        """
        if not unsettled:
            return going_on(trials, self.budget, number, self.objectives)
        deciding = sum(objective.weight > 0 for objective in self.objectives)
        keep = max(0, self.budget.at_least[number - 1] - unsettled) if deciding == 1 else 0
        return promoted(trials, self.budget.rungs[number - 1], keep, self.objectives), False

    def _room(self, history: History) -> bool:
        """Whether another candidate may enter; refused ones take no place, until there are too many of them."""
        # Too many of those that a proposal looks at: how much is known of the latest depends on who finishes first.
        if history.refused(before=self._seen(history)) >= _REFUSALS:
            self._require_accepted(history)
            return False
        return len(history) - history.refused() < self.budget.candidates

    def _require_accepted(self, history: History) -> None:
        """Nobody else can enter: raise `BudgetError` if everybody was refused."""
        refused = [trial for trial in history.trials if trial.refusal is not None]
        if refused and len(refused) == len(history):
            raise all_refused(refused, self.statics, self.objectives)

    def _can_see(self, history: History) -> bool:
        """Whether all that the next proposal looks at is known."""
        return all(index >= self._seen(history) for index in history.open)

    def _seen(self, history: History) -> int:
        """How many candidates a proposal looks at, the first ones."""
        return max(0, len(history) - self.lookback)

    def _visible(self, history: History) -> tuple[Trial, ...]:
        """What a proposal looks at: what came of the first ones, and that the latest were proposed.

        Not what came of early promotions: how many there are depends on who finishes first.
        """
        first, trials = self._seen(history), history.trials
        settled = (trial.up_to(self.budget.rungs[0]) for trial in trials[:first])
        return (*settled, *(Trial(candidate=trial.candidate) for trial in trials[first:]))

    def _propose(self, history: History) -> Candidate | None:
        """Enter the next candidate; None when the space holds no new one. One outside a limit is refused at once."""
        index = len(history)
        if index < len(self.warm_start.proposed):
            return self._enter(history, Idea(self.warm_start.proposed[index], "warm start"), index)
        rng = stream(self.seed, "proposal", index)
        problem = self.problem()
        visible = [*self.warm_start.seen(self.objectives), *seen(self._visible(history), self.budget.rungs[0], self.objectives)]
        for _ in range(_REDRAWS):
            idea = self.strategy.ask(problem, visible, 1, rng)[0]
            if not history.holds(idea.point.digest):
                return self._enter(history, idea, index)
        return None

    def _enter(self, history: History, idea: Idea[Design], index: int) -> Candidate:
        # Every candidate trains with the same seed: the same weights' stream, batches and order, so that they compare.
        seed = derive(self.seed, "training")
        parents = tuple(parent for parent in idea.parents if parent >= 0)  # others are of earlier searches
        candidate = Candidate(index=index, design=idea.point, origin=idea.origin, parents=parents, seed=seed)
        history.propose(candidate)
        reason = refusal_reason(self.statics, idea.point, self.objectives)
        if reason is not None:
            history.record(Refusal(index=index, reason=reason, metrics=self.statics.counted(idea.point)))
        return candidate
