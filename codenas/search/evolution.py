"""Evolution with tournaments, crossover and mutation over the best of the history (as NSGA-II ranks them, Deb et al. 2002)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from codenas.search.candidate import Trial
from codenas.search.random_search import RandomSearch
from codenas.search.rungs import promoted
from codenas.search.strategy import Idea, Problem


@dataclass(slots=True, frozen=True)
class Evolution:
    """Random until `warmup` candidates have reported, then children of the `population` best.

    Attributes:
        tournament: how many of the population meet; the best of them is a parent.
        crossover: probability that a child has two parents.
        mutations: fields that a mutation changes.
    """

    warmup: int = 4
    population: int = 8
    tournament: int = 3
    crossover: float = 0.5
    mutations: int = 1

    def ask(self, problem: Problem, history: Sequence[Trial], count: int, rng: random.Random) -> list[Idea]:
        """See `Strategy.ask`."""
        elites = promoted(history, problem.rung, self.population, problem.objectives)
        if len(elites) < self.warmup:
            return RandomSearch().ask(problem, history, count, rng)
        return [self._child(problem, elites, rng) for _ in range(count)]

    def _child(self, problem: Problem, elites: Sequence[Trial], rng: random.Random) -> Idea:
        mother = self._parent(elites, rng)
        if rng.random() >= self.crossover:
            mutant = problem.space.mutate(mother.candidate.design, rng, self.mutations)
            return Idea(mutant, "mutation", (mother.candidate.index,))
        father = self._parent([trial for trial in elites if trial is not mother] or elites, rng)
        child = problem.space.cross(mother.candidate.design, father.candidate.design, rng)
        mutant = problem.space.mutate(child, rng, self.mutations)
        return Idea(mutant, "crossover", (mother.candidate.index, father.candidate.index))

    def _parent(self, elites: Sequence[Trial], rng: random.Random) -> Trial:
        """The winner of a tournament; `elites` is sorted, best first."""
        return elites[min(rng.randrange(len(elites)) for _ in range(self.tournament))]
