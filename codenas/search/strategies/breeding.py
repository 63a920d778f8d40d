"""Children by tournament selection, crossover and mutation (parents are ranked as in NSGA-II, Deb et al. 2002)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from codenas.search.strategies.base import Observation, P, Problem, Suggestion


@dataclass(slots=True, frozen=True)
class Breeding:
    """Selection and variation.

    Attributes:
        tournament: size of a tournament, whose best is a parent.
        crossover: probability that a child has two parents.
        mutations: fields that a mutation changes.
    """

    tournament: int = 3
    crossover: float = 0.5
    mutations: int = 1

    def child(self, problem: Problem[P], ranked: Sequence[Observation[P]], rng: random.Random) -> Suggestion[P]:
        """A mutated child of one or two of `ranked`, the population, best first."""
        mother = self._parent(ranked, rng)
        if rng.random() >= self.crossover:
            mutant = problem.space.mutate(mother.point, rng, self.mutations)
            return Suggestion(mutant, "mutation", (mother.index,))
        father = self._parent([observation for observation in ranked if observation is not mother] or ranked, rng)
        child = problem.space.cross(mother.point, father.point, rng)
        mutant = problem.space.mutate(child, rng, self.mutations)
        return Suggestion(mutant, "crossover", (mother.index, father.index))

    def _parent(self, ranked: Sequence[Observation[P]], rng: random.Random) -> Observation[P]:
        return ranked[min(rng.randrange(len(ranked)) for _ in range(self.tournament))]
