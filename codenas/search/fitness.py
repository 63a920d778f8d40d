"""Objectives: the metrics that a search optimises, and their limits."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from codenas.errors import ConfigError
from codenas.metrics import LATENCY, METRICS, QUALITY, SIZE, Direction, Metrics, require_metric
from codenas.search.strategies.base import Criterion
from codenas.stats.pareto import scaled


def _usual_direction(fields: dict[str, Any]) -> Direction:
    """The direction of the metric for an objective that names none."""
    metric = fields.get("metric", "")
    return METRICS[metric].direction if metric in METRICS else "minimize"  # an unknown metric is refused by its own validator


class Objective(BaseModel):
    """One metric. With weight 0 it is shown and may be limited, but is not optimised."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str = Field(description="such as bits_per_byte, size_bytes, latency_ms_p50, params")
    direction: Direction = Field(default_factory=_usual_direction, description="by default that of the metric")
    weight: float = Field(0.0, ge=0, description="share in the weighted mean that is minimised; 0: shown and limited only")
    limit: float | None = Field(None, description="a bound that no candidate may exceed")
    target: float | None = Field(None, description="a value that is good enough: better ones count the same")

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, metric: str) -> str:
        return require_metric(metric)

    @model_validator(mode="after")
    def _target_is_inside_the_limit(self) -> Self:
        if self.target is not None and self.outside(self.target):
            target = f"the target of {self.metric}, {self.formatted(self.target)}"
            raise ValueError(f"{target}, is outside its limit, {self.bound}; change one of them")
        return self

    @property
    def criterion(self) -> Criterion:
        """The objective as strategies see it."""
        return Criterion(self.metric, self.direction == "maximize", self.limit, self.weight > 0, self.target)

    def value(self, metrics: Metrics) -> float | None:
        """The measured value; None where it was not measured."""
        measured: float | None = getattr(metrics, self.metric)
        return measured

    def cost(self, metrics: Metrics) -> float:
        """The value with the sign that makes lower better, clipped at the target; infinite if it was not measured."""
        value = self.value(metrics)
        return math.inf if value is None else self.criterion.cost(value)

    def broken_by(self, metrics: Metrics) -> str | None:
        """Why `metrics` violates the limit; None if it does not, or if the metric was not measured yet."""
        value = self.value(metrics)
        if value is None or not self.outside(value):
            return None
        return f"{self.metric} {self.formatted(value)} is outside its limit, {self.bound}"

    def formatted(self, value: float) -> str:
        """`value` in the unit in which limits are given: sizes in MB."""
        return METRICS[self.metric].exact(value)

    def outside(self, value: float) -> bool:
        """Whether `value` violates the limit."""
        return self.limit is not None and (value > self.limit if self.direction == "minimize" else value < self.limit)

    @property
    def bound(self) -> str:
        """The limit as a phrase, such as `at most 4 MB`."""
        return f"{'at most' if self.direction == 'minimize' else 'at least'} {self.formatted(self.limit or 0)}"


DEFAULT_OBJECTIVES = (
    Objective(metric=QUALITY, weight=0.5),
    Objective(metric=SIZE, weight=0.3),
    Objective(metric=LATENCY, weight=0.2),
)


def check_objectives(objectives: Sequence[Objective]) -> None:
    """Raise `ConfigError` if no objective has a weight, or a metric is named twice."""
    names = [objective.metric for objective in objectives]
    if len(set(names)) != len(names):
        raise ConfigError(f"an objective is given twice: {', '.join(names)}; give each metric one weight and one limit")
    if not any(objective.weight > 0 for objective in objectives):
        raise ConfigError(f"the weights of {', '.join(names) or 'no objective'} are all zero; give one objective a weight above 0")


def broken_limit(metrics: Metrics, objectives: Iterable[Objective]) -> str | None:
    """The first limit that `metrics` violates, as a message; None if there is none."""
    return next((reason for objective in objectives if (reason := objective.broken_by(metrics))), None)


def costs(metrics: Metrics, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The costs that are minimised: one number per objective with a weight."""
    return tuple(objective.cost(metrics) for objective in objectives if objective.weight > 0)


def weighted_fitness(metrics: Sequence[Metrics], objectives: Sequence[Objective]) -> list[float]:
    """Weighted mean of the costs of each of `metrics`, each cost scaled to [0, 1] over all of them; lower is better.

    The best value of an objective counts 0 and the worst 1, whatever its unit, and the weights trade these ranges. So values of
    fitness are comparable within one call only. An objective in which all are equal has no influence.
    """
    weights = [objective.weight for objective in objectives if objective.weight > 0]
    points = scaled([costs(each, objectives) for each in metrics])
    return [sum(weight * place for weight, place in zip(weights, point, strict=True)) / sum(weights) for point in points]
