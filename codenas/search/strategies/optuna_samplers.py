"""Optuna's samplers as strategies, by ask and tell. The only file that knows Optuna; it is imported when it is first asked.

The study is rebuilt from the history for every proposal: the history stays the only state.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codenas.errors import ConfigError
from codenas.search.strategies.base import Observation, P, Problem, Suggestion

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_GENERATION = "NSGAIISampler:generation"  # the system attribute of a trial with its generation, from which the sampler selects parents
_POPULATION = 6
_DRAWS = 4  # samples of TPE for each field: with more of them it would always propose the same of a few choices


@dataclass(slots=True, frozen=True)
class OptunaSearch:
    """TPE (Bergstra et al. 2011), NSGA-II (Deb et al. 2002) or a Gaussian process, each with the limits as constraints.

    Attributes:
        needs: modules that must be installed.
        startup: random trials before the sampler is used; NSGA-II has generations instead.
    """

    sampler: Literal["tpe", "nsga2", "gp"]
    needs: tuple[str, ...] = ("optuna",)
    startup: int = 8

    def ask(self, problem: Problem[P], history: Sequence[Observation[P]], count: int, rng: random.Random) -> list[Suggestion[P]]:
        """See `Strategy.ask`."""
        fields = {name: values for name, values in problem.space.choices.items() if len(values) > 1}
        study = _study(problem, history, self._sampler(rng.randrange(2**32)), None)
        suggestions: list[Suggestion[P]] = []
        for _ in range(count):
            indices = study.ask(_distributions(fields)).params
            wanted = {name: values[0] for name, values in problem.space.choices.items()}
            wanted |= {name: values[indices[name]] for name, values in fields.items()}
            suggestions.append(Suggestion(problem.space.near(wanted, rng), f"optuna-{self.sampler}"))
        return suggestions

    def _sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

        if self.sampler == "nsga2":
            return NSGAIISampler(population_size=_POPULATION, seed=seed)
        if self.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=self.startup)
        return TPESampler(seed=seed, n_startup_trials=self.startup, n_ei_candidates=_DRAWS)


def write_study(problem: Problem[P], history: Sequence[Observation[P]], path: Path, name: str) -> None:
    """Store `history` as a study in SQLite at `path`, which optuna-dashboard opens.

    Raises:
        ConfigError: `path` exists already.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; remove it, or choose another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    _study(problem, history, None, f"sqlite:///{path}", name)


def extend_study(problem: Problem[P], history: Sequence[Observation[P]], path: Path, name: str) -> None:
    """Add the new candidates of `history` to the study at `path`; an open optuna-dashboard shows them."""
    import optuna

    study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
    held = {trial.user_attrs["candidate"] for trial in study.trials}
    study.add_trials([_trial(problem, observation, 0) for observation in history if observation.index not in held])


def _study(
    problem: Problem[P], history: Sequence[Observation[P]], sampler: "BaseSampler | None", storage: str | None, name: str | None = None
) -> "Study":
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection.MAXIMIZE if criterion.maximized else StudyDirection.MINIMIZE for criterion in problem.deciding]
    study = optuna.create_study(directions=directions, sampler=sampler, storage=storage, study_name=name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # experimental in Optuna: a later version may change it
        study.set_metric_names([criterion.metric for criterion in problem.deciding])
    oldest = min((observation.index for observation in history), default=0)
    before = max(0, -(oldest // _POPULATION))  # generations of earlier searches; Optuna counts from 0
    study.add_trials([_trial(problem, observation, before) for observation in sorted(history, key=lambda observation: observation.index)])
    return study


def _trial(problem: Problem[P], observation: Observation[P], before: int) -> "FrozenTrial":
    """A candidate as a frozen trial of Optuna: choices by index, a limit as a constraint that is at most 0 where it is satisfied."""
    from optuna.trial import TrialState, create_trial

    fields = {name: values for name, values in problem.space.choices.items() if len(values) > 1}
    taken, figures = problem.space.flatten(observation.point), problem.space.static(observation.point)
    costs = (
        None
        if observation.costs is None
        else [-cost if criterion.maximized else cost for criterion, cost in zip(problem.deciding, observation.costs, strict=True)]
    )
    inside = {name: values for name, values in fields.items() if taken[name] in values}  # an inactive field may have another value
    return create_trial(
        state=TrialState.FAIL if costs is None else TrialState.COMPLETE,
        values=costs,
        params={name: values.index(taken[name]) for name, values in inside.items()},
        distributions=_distributions(inside),
        user_attrs={"candidate": observation.index, **{name: taken[name] for name in taken}},
        system_attrs={_GENERATION: before + observation.index // _POPULATION},
        constraints={
            criterion.metric: criterion.cost(figures[criterion.metric]) - criterion.cost(criterion.limit)
            for criterion in problem.criteria
            if criterion.limit is not None and criterion.metric in figures
        },
    )


def _distributions(fields: Mapping[str, tuple[Any, ...]]) -> "dict[str, BaseDistribution]":
    """Distributions over the indices of the choices: ordered for numbers, categorical for others."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return {
        name: IntDistribution(0, len(values) - 1) if _ordered(values) else CategoricalDistribution(range(len(values)))
        for name, values in fields.items()
    }


def _ordered(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
