"""Designs as the discrete space that strategies work on: a search space, and what is known of its designs before training."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codenas.arch.design import Design
from codenas.arch.space import SearchSpace
from codenas.errors import ConfigError
from codenas.search.candidate import Trial
from codenas.search.fitness import Objective, costs
from codenas.search.strategies.base import Criterion, Observation


@dataclass(slots=True, frozen=True)
class DesignSpace:
    """A `Space` of designs; `figures` says what is known of one without building it."""

    space: SearchSpace
    figures: Callable[[Design], Mapping[str, float]]

    @property
    def choices(self) -> Mapping[str, tuple[Any, ...]]:
        """See `Space.choices`."""
        return self.space.choices

    def sample(self, rng: random.Random) -> Design:
        """Drawn uniformly from the valid designs."""
        return self.space.sample(rng)

    def pool(self, count: int, rng: random.Random) -> Sequence[Design]:
        """`count` draws, some of them equal perhaps."""
        return [self.space.sample(rng) for _ in range(count)]

    def mutate(self, point: Design, rng: random.Random, fields: int = 1) -> Design:
        """`point` with `fields` fields set to another choice."""
        return self.space.mutate(point, rng, fields)

    def cross(self, mother: Design, father: Design, rng: random.Random) -> Design:
        """Each field from one of the two."""
        return self.space.cross(mother, father, rng)

    def near(self, choices: Mapping[str, Any], rng: random.Random) -> Design:
        """The design of `choices`; where they make none, with as many fields of a random one as it takes, in random order."""
        assignment, valid = dict(choices), self.space.flatten(self.space.sample(rng))
        for path in [None, *rng.sample(sorted(valid), len(valid))]:
            if path is not None:
                assignment[path] = valid[path]
            try:
                return self.space.unflatten(assignment)
            except ConfigError:
                continue
        raise ConfigError(f"{sorted(choices)} are not the fields of the space, {sorted(valid)}")

    def contains(self, point: Design) -> bool:
        """Whether the space can propose `point`."""
        return self.space.contains(point)

    def flatten(self, point: Design) -> Mapping[str, Any]:
        """The choices that make `point`."""
        return self.space.flatten(point)

    def static(self, point: Design) -> Mapping[str, float]:
        """See `figures`."""
        return self.figures(point)


def criteria(objectives: Sequence[Objective]) -> tuple[Criterion, ...]:
    """`objectives` as strategies see them."""
    return tuple(objective.criterion for objective in objectives)


def observations(trials: Sequence[Trial], rung: int, objectives: Sequence[Objective]) -> list[Observation[Design]]:
    """`trials` as strategies see them: with their costs after `rung` steps."""
    reports = [trial.report(rung) for trial in trials]
    return [
        Observation(trial.candidate.index, trial.candidate.design, costs(report.metrics, objectives) if report else None)
        for trial, report in zip(trials, reports, strict=True)
    ]
