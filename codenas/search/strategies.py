"""The strategies by name. A new one costs its file and a line here."""

from codenas.errors import ConfigError
from codenas.search.evolution import Evolution
from codenas.search.random_search import RandomSearch
from codenas.search.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    "random": RandomSearch(),
    "evolution": Evolution(),
}


def strategy(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"no strategy is called {name!r}; choose one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
