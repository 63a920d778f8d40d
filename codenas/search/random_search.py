"""Random search: the baseline that everything else has to beat."""

import random
from collections.abc import Sequence

from codenas.search.candidate import Trial
from codenas.search.strategy import Idea, Problem


class RandomSearch:
    """Uniform draws from the valid designs of the space."""

    def ask(self, problem: Problem, history: Sequence[Trial], count: int, rng: random.Random) -> list[Idea]:
        """See `Strategy.ask`."""
        return [Idea(problem.space.sample(rng), "random") for _ in range(count)]
