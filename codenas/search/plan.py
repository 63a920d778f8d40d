"""The plan of a search: the next action as a pure function of the history, so that a search can be interrupted and resumed anywhere.

The outcome does not depend on the order in which jobs finish: a proposal uses settled candidates only (`codenas.search.proposals`),
and a promotion all scores that can change it (`codenas.search.promotions`). So any number of workers, with any interruptions, runs
the same search; with `lookback` at least twice the number of workers, in practice no worker waits.

A plan writes nothing. The caller records proposals (`codenas.search.loop.next_action`) and outcomes.
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
        vocab_size: that of the corpus's own vocabulary; its tokenizer takes `tokenizer_bytes`, stored beside the weights.
        vocabularies: the others that designs of the space may use.
        min_latency_ms: a lower bound of the latency of a design with a vocabulary size; None without a calibrated device.
        lookback: number of the most recent candidates whose results a proposal ignores.
        warm_start: trials of earlier searches.
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
        """The problem that the strategy is asked about."""
        return Problem(DesignSpace(self.space, cache(self.static_metrics.figures)), criteria(self.objectives), CAPACITY)

    def next(self, history: History, running: Collection[Job] = ()) -> Action:
        """The next action while the jobs `running` are in progress. Deterministic.

        Raises:
            BudgetError: all candidates so far violate a limit.
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
        """Whether the search is finished."""
        return isinstance(self.next(history), Done)

    def finalists(self, history: History, rung_number: int) -> list[Trial]:
        """The trials that are promoted to rung `rung_number` (1 is the second rung), best first."""
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
        """An estimate that is proportional to the time of a training step."""
        return self.static_metrics.trained_parameters(trial.candidate.design)
