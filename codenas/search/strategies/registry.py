"""The strategies by name. A new one costs its file and a line here."""

from collections.abc import Sequence
from importlib.util import find_spec

from codenas.errors import ConfigError
from codenas.search.strategies.base import Strategy
from codenas.search.strategies.evolution import Evolution
from codenas.search.strategies.frontier import Frontier
from codenas.search.strategies.genetic import Genetic
from codenas.search.strategies.optuna_samplers import OptunaSearch
from codenas.search.strategies.random_search import RandomSearch

STRATEGIES: dict[str, Strategy] = {
    "random": RandomSearch(),
    "evolution": Evolution(),
    "genetic": Genetic(),
    "frontier": Frontier(),
    "front-only": Frontier(correct=False),
    "optuna-tpe": OptunaSearch("tpe"),
    "optuna-nsga2": OptunaSearch("nsga2"),
    "optuna-gp": OptunaSearch("gp"),
}


def strategy(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        ConfigError: there is none, or what it needs is not installed.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"no strategy is called {name!r}; choose one of {', '.join(STRATEGIES)}")
    found = STRATEGIES[name]
    require_modules(f"the strategy {name}", getattr(found, "needs", ()))
    return found


def require_modules(what: str, names: Sequence[str]) -> None:
    """See that the modules `names` are installed; they are optional.

    Raises:
        ConfigError: one is not.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}; install with: pip install {' '.join(missing)}")
