"""The discrete space of designs that strategies search, with the static metrics of its designs."""

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
    """A `Space` of designs; `figures` computes the static metrics of one without building it."""

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
        """`count` draws, perhaps with duplicates."""
        return [self.space.sample(rng) for _ in range(count)]

    def mutate(self, point: Design, rng: random.Random, fields: int = 1) -> Design:
        """`point` with `fields` fields set to another choice."""
        return self.space.mutate(point, rng, fields)

    def cross(self, mother: Design, father: Design, rng: random.Random) -> Design:
        """Take each field from one of the two."""
        return self.space.cross(mother, father, rng)

    def near(self, choices: Mapping[str, Any], rng: random.Random) -> Design:
        """The design of `choices`; if they are invalid, fields are replaced by those of a random design until they are not."""
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
        """Whether `point` is in the space."""
        return self.space.contains(point)

    def flatten(self, point: Design) -> Mapping[str, Any]:
        """The choices of `point`, by field."""
        return self.space.flatten(point)

    def static(self, point: Design) -> Mapping[str, float]:
        """See `figures`."""
        return self.figures(point)


def criteria(objectives: Sequence[Objective]) -> tuple[Criterion, ...]:
    """`objectives` as the criteria of a strategy."""
    return tuple(objective.criterion for objective in objectives)


def observations(trials: Sequence[Trial], rung: int, objectives: Sequence[Objective]) -> list[Observation[Design]]:
    """`trials` as observations of a strategy, with their costs after `rung` steps."""
    reports = [trial.report(rung) for trial in trials]
    return [
        Observation(trial.candidate.index, trial.candidate.design, costs(report.metrics, objectives) if report else None)
        for trial, report in zip(trials, reports, strict=True)
    ]
