"""A genetic algorithm in generations, with elites and ageing (Real et al. 2019; elites are exempt from ageing)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from codenas.search.strategies.base import Observation, P, Problem, Suggestion, best
from codenas.search.strategies.breeding import Breeding
from codenas.search.strategies.random_search import RandomSearch

_BREEDING = Breeding(tournament=2, crossover=0.7)


@dataclass(slots=True, frozen=True)
class Genetic:
    """The first generation is random, or children of prior trials; the parents of each later one are the survivors before it.

    Attributes:
        population: candidates of a generation, and survivors at most.
        elites: the number of best candidates of all generations, which survive always.
        lifetime: generations that all other candidates survive.
        breeding: how children are made of survivors.
    """

    population: int = 6
    elites: int = 2
    lifetime: int = 2
    breeding: Breeding = _BREEDING

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """See `Strategy.ask`."""
        parents = self._survivors(history)
        if not parents:
            return RandomSearch().ask(problem, history, count, rng)
        return [self.breeding.child(problem, parents, rng) for _ in range(count)]

    def _survivors(self, history: Sequence[Observation[P]]) -> list[Observation[P]]:
        """The best of the young and the elite of all finished generations, best first."""
        finished = (
            max((observation.index + 1 for observation in history if observation.costs is not None), default=0)
            // self.population
            * self.population
        )
        born = [observation for observation in history if observation.index < finished]
        elites = {observation.index for observation in best(born, self.elites)}
        oldest = finished - self.lifetime * self.population
        return best([observation for observation in born if observation.index >= oldest or observation.index in elites], self.population)
