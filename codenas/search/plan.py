"""What to do next in a search: a pure function of its history, so that it can be interrupted and resumed anywhere.

The outcome does not depend on who finishes first: a proposal looks at settled candidates only (`codenas.search.proposals`), and a
promotion at all scores that can change it (`codenas.search.promotions`). With `lookback` at least twice the number of workers no worker
waits in practice, and any number of workers, in any order, with any interruptions, walks through the same search.

A plan writes nothing. Whoever drives a search records the proposals (`codenas.search.loop.next_action`) and what became of the jobs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.search.actions import Action, Done, Job, Train, Wait
from codenas.search.candidate import Budget, Trial
from codenas.search.design_space import DesignSpace, criteria
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.promotions import next_promotion
from codenas.search.proposals import Proposals
from codenas.search.repeats import next_repeat
from codenas.search.rungs import promoted_to_rung
from codenas.search.static_metrics import CAPACITY, MinLatency, StaticMetrics, VocabularySize
from codenas.search.strategies.base import Problem, Strategy
from codenas.search.warm_start import WarmStart


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
    def static_metrics(self) -> StaticMetrics:
        """The static metrics of its designs."""
        return StaticMetrics(VocabularySize(self.vocab_size, self.tokenizer_bytes), self.vocabularies, self.min_latency_ms)

    def problem(self) -> Problem[Design]:
        """What the strategy is asked about."""
        return Problem(DesignSpace(self.space, cache(self.static_metrics.figures)), criteria(self.objectives), CAPACITY)

    def next(self, history: History, running: Collection[Job] = ()) -> Action:
        """What to do while the jobs `running` are being done. The same question has the same answer.

        Raises:
            BudgetError: candidate after candidate is outside the limits.
        """
        first = self.budget.rungs[0]
        running_candidates = {job.candidate.index for job in running if not job.candidate.repeat}
        for index in history.open:
            if index not in running_candidates:
                return Train(Job(history.trials[index].candidate, first))
        proposal = self._proposals().next(history)
        if proposal is not None:
            return proposal
        job = next_promotion(history.trials, self.budget, self.objectives, running_candidates, self._relative_step_time)
        if job is None and not running_candidates:  # the finalists are known
            repeating = {(job.candidate.index, job.candidate.repeat) for job in running}
            job = next_repeat(
                self.finalists(history, len(self.budget.rungs) - 1), self.budget, self.objectives, repeating, self._relative_step_time
            )
        if job is not None:
            return Train(job)
        return Wait() if running else Done()

    def finished(self, history: History) -> bool:
        """Whether nothing is left to do."""
        return isinstance(self.next(history), Done)

    def finalists(self, history: History, rung_number: int) -> list[Trial]:
        """Those who are promoted to rung `rung_number` (1 is the second rung), best first."""
        trials = list(history.trials)
        for number in range(1, rung_number + 1):
            trials, _ = promoted_to_rung(trials, self.budget, number, self.objectives)
        return trials

    def _proposals(self) -> Proposals:
        return Proposals(
            problem=self.problem(),
            strategy=self.strategy,
            objectives=self.objectives,
            static_metrics=self.static_metrics,
            warm_start=self.warm_start,
            candidates=self.budget.candidates,
            rung=self.budget.rungs[0],
            lookback=self.lookback,
            seed=self.seed,
        )

    def _relative_step_time(self, trial: Trial) -> int:
        """About how long a step of `trial` takes."""
        return self.static_metrics.trained_parameters(trial.candidate.design)
