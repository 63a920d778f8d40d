"""Evolution with tournaments, crossover and mutation over the best of the history."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from codenas.search.strategies.base import Observation, P, Problem, Suggestion, best
from codenas.search.strategies.breeding import Breeding
from codenas.search.strategies.random_search import RandomSearch


@dataclass(slots=True, frozen=True)
class Evolution:
    """Random until `warmup` candidates have reported, then children of the `population` best; other attributes as in `Breeding`."""

    warmup: int = 4
    population: int = 8
    tournament: int = 3
    crossover: float = 0.5
    mutations: int = 1

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """See `Strategy.ask`."""
        elites = best(history, self.population)
        if len(elites) < self.warmup:
            return RandomSearch().ask(problem, history, count, rng)
        breeding = Breeding(self.tournament, self.crossover, self.mutations)
        return [breeding.child(problem, elites, rng) for _ in range(count)]
