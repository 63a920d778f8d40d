"""Random search: the baseline that everything else has to beat."""

import random
from collections.abc import Sequence

from codenas.search.strategies.base import Idea, P, Problem, Seen


class RandomSearch:
    """Uniform draws from the points of the space."""

    def ask(self, problem: Problem[P], history: Sequence[Seen[P]], count: int, rng: random.Random) -> list[Idea[P]]:
        """See `Strategy.ask`."""
        return [Idea(problem.space.sample(rng), "random") for _ in range(count)]
