"""Random search: the baseline that everything else has to beat."""

import random
from collections.abc import Sequence

from codenas.search.strategies.base import Observation, P, Problem, Suggestion


class RandomSearch:
    """Uniform draws from the points of the space."""

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """See `Strategy.ask`."""
        return [Suggestion(problem.space.sample(rng), "random") for _ in range(count)]
