"""What proposes candidates. A strategy keeps no state: all it knows is the history it is shown and the generator."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.search.candidate import Trial
from codenas.search.fitness import Objective


@dataclass(slots=True, frozen=True)
class Idea:
    """A proposed design and where it comes from: `parents` are indices of candidates."""

    design: Design
    origin: str
    parents: tuple[int, ...] = ()


@dataclass(slots=True, frozen=True)
class Problem:
    """What is searched: the space, the objectives, and the rung at which candidates are compared."""

    space: SearchSpace
    objectives: tuple[Objective, ...]
    rung: int


class Strategy(Protocol):
    """Proposes. The same history and generator give the same answer, inside the space, whatever the history holds."""

    def ask(self, problem: Problem, history: Sequence[Trial], count: int, rng: random.Random) -> list[Idea]:
        """`count` designs that look worth a training."""
        ...
