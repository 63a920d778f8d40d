"""The settings of a search."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from codenas.arch import SearchSpace, preset
from codenas.arch.presets import PRESETS
from codenas.arch.space import Choices
from codenas.errors import ConfigError, first_error
from codenas.metrics import QUALITY
from codenas.search.candidate import Budget
from codenas.search.fitness import DEFAULT_OBJECTIVES, Objective, check_objectives
from codenas.search.plan import Plan
from codenas.search.static_metrics import MinLatency, VocabularySize
from codenas.search.strategies.registry import strategy

_OBJECT = TypeAdapter(dict[str, Any])


class SpaceChoice(BaseModel):
    """The search space: a preset's name, or a custom space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str | SearchSpace = Field("tiny", description="name of a preset, or a table with base and choices")
    choices: Choices = Field(
        {}, description="refines a preset: replaces its choices of these fields, or makes choices of fields that it keeps fixed"
    )

    @field_validator("space", mode="before")
    @classmethod
    def _name_or_table(cls, space: Any) -> Any:
        if not isinstance(space, str | dict | SearchSpace):
            raise ValueError(f"must be the name of a preset ({', '.join(PRESETS)}) or a table with base and choices")
        return space

    @field_validator("choices", mode="before")
    @classmethod
    def _values_are_lists(cls, choices: Any) -> Any:
        for path, values in choices.items() if isinstance(choices, Mapping) else ():
            if not isinstance(values, list | tuple):
                raise ValueError(f"{path} = {values!r} is no list of choices; write {path} = [{values!r}]")
        return choices

    @model_validator(mode="after")
    def _space_exists(self) -> Self:
        self.search_space()
        return self

    @classmethod
    def of_job(cls, job: str) -> Self:
        """The search space or search settings in `job`, the JSON of a search job; how its trials run is left out.

        Raises:
            ConfigError: it cannot be read by this version.
        """
        try:
            asked = _OBJECT.validate_json(job)
            return cls.model_validate({name: value for name, value in asked.items() if name in cls.model_fields})
        except (ValidationError, ConfigError) as error:
            reason = first_error(error) if isinstance(error, ValidationError) else str(error)
            raise ConfigError(f"the job of a search cannot be read ({reason}); it is damaged, or of another version") from error

    def search_space(self) -> SearchSpace:
        """The search space."""
        if not isinstance(self.space, str):
            if self.choices:
                raise ConfigError(f"choices refine a preset ({', '.join(PRESETS)}); those of a space of one's own stand in space.choices")
            return self.space
        space = preset(self.space)
        try:
            return space.refined(self.choices) if self.choices else space
        except ConfigError as error:
            raise ConfigError(f"choices of the preset {self.space}: {error}") from error

    @property
    def space_name(self) -> str:
        """The preset's name and the refined fields, for reports."""
        if not isinstance(self.space, str):
            return "of its own"
        return f"{self.space}, refined in {', '.join(self.choices)}" if self.choices else self.space


class SearchConfig(SpaceChoice):
    """A search: its space, strategy, budget and objectives."""

    strategy: str = Field("frontier", description="proposes candidates")
    budget: Budget = Field(Budget(), description="candidates, rungs and promotions")
    objectives: tuple[Objective, ...] = Field(DEFAULT_OBJECTIVES, description="metrics that are optimised, and limits")
    scheduler: Literal["promotion", "asha"] = Field(
        "promotion",
        description="how candidates reach higher rungs: synchronous promotion of the best of a rung, or Ray's ASHA (on Ray only)",
    )
    lookback: int = Field(
        4,
        ge=0,
        description="most recent candidates whose results a proposal ignores; with at least twice the number of workers, none waits",
    )
    seed: int = Field(0, description="of proposals, weights and batches")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        strategy(self.strategy)
        check_objectives(self.objectives)
        if self.budget.adaptive and not any(each.metric == QUALITY and each.weight > 0 for each in self.objectives):
            raise ValueError(f"adaptive promotion forecasts {QUALITY}, which has no weight here; give it one, or leave `least` out")
        return self

    @model_validator(mode="after")
    def _asha_is_possible(self) -> Self:
        if self.scheduler != "asha":
            return self
        rungs, deciding = list(self.budget.rungs), [each.metric for each in self.objectives if each.weight > 0]
        factors = {high / low for low, high in pairwise(rungs)}
        if len(factors) != 1 or not all(factor.is_integer() for factor in factors):
            raise ValueError(f"the rungs of scheduler asha grow by one whole factor, as [50, 300] and [20, 60, 180]; rungs {rungs} do not")
        if deciding != [QUALITY]:
            raise ValueError(f"scheduler asha compares one metric: give {QUALITY} alone a weight, not {', '.join(deciding)}")
        if self.budget.least:
            raise ValueError(f"scheduler asha decides itself how many are promoted; leave least {list(self.budget.least)} out")
        if self.budget.repeats:
            raise ValueError(
                f"scheduler asha does not repeat finalists; leave repeats {self.budget.repeats} out, or choose scheduler promotion"
            )
        return self

    @property
    def bounds(self) -> Budget:
        """The budget as upper bounds: ASHA may promote any number, whatever `promote` says."""
        all_candidates = (self.budget.candidates,) * len(self.budget.promote)
        return self.budget if self.scheduler == "promotion" else self.budget.model_copy(update={"promote": all_candidates})

    def plan(
        self,
        vocab_size: int,
        tokenizer_bytes: int = 0,
        min_latency_ms: MinLatency | None = None,
        vocabularies: Mapping[str, VocabularySize] | None = None,
    ) -> Plan:
        """The plan of this search for a vocabulary of `vocab_size` ids and a tokenizer of `tokenizer_bytes`; see `Plan`."""
        return Plan(
            space=self.search_space(),
            strategy=strategy(self.strategy),
            budget=self.bounds,
            objectives=self.objectives,
            vocab_size=vocab_size,
            tokenizer_bytes=tokenizer_bytes,
            min_latency_ms=min_latency_ms,
            seed=self.seed,
            lookback=self.lookback,
            vocabularies=vocabularies or {},
        )

    def with_limits(self, limits: Mapping[str, float | None]) -> Self:
        """The same search with limits on some metrics (None leaves one as it is); an unlisted metric joins with weight 0."""
        return self.with_objectives(limits={metric: limit for metric, limit in limits.items() if limit is not None})

    def with_objectives(
        self,
        limits: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> Self:
        """The same search with other limits, targets and weights of some metrics; an unlisted metric joins with weight 0.

        If `weights` are given, all other metrics get weight 0 and keep their limits. A target that a new limit excludes moves to that
        limit: every value inside the limit was good enough before.

        Raises:
            ValidationError: there is no such metric, or a value is illegal.
            ConfigError: no objective has a weight.
        """
        changed = {objective.metric: objective.model_dump() for objective in self.objectives}
        if weights is not None:
            weights = {**dict.fromkeys(changed, 0.0), **weights}
        for field, values in (("limit", limits), ("target", targets), ("weight", weights)):
            for metric, value in (values or {}).items():
                changed.setdefault(metric, {"metric": metric})[field] = value
        for metric in set(limits or {}) - set(targets or {}):
            changed[metric] = _with_target_inside_limit(changed[metric])
        objectives = tuple(Objective.model_validate(fields) for fields in changed.values())
        return type(self).model_validate({**self.model_dump(), "objectives": objectives})


def _with_target_inside_limit(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an objective with its target moved to its limit, if the limit excludes it."""
    objective = Objective.model_validate({**fields, "target": None})
    limit, target = objective.limit, fields.get("target")
    if limit is None or target is None:
        return fields
    excluded = target > limit if objective.direction == "minimize" else target < limit
    return {**fields, "target": limit} if excluded else fields
