"""Optuna by ask and tell: what it is told is the history, and what it stores can be opened again."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from codenas.errors import ConfigError
from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.strategies import registry as strategies
from codenas.search.strategies.base import Criterion, Observation
from codenas.search.strategies.optuna_samplers import OptunaSearch, extend_study, write_study
from codenas.search.strategies.registry import strategy
from tests.search.tables import synthetic_table

optuna = pytest.importorskip("optuna")

RECORDED = Recorded.of(synthetic_table(), ColumnRoles(("params", "latency_ms"), ("bits_per_byte",), capacity="params"))
PROBLEM = RECORDED.problem


def history(count: int) -> list[Observation[int]]:
    rows = random.Random(0).sample(range(len(synthetic_table())), count)
    return [Observation(index, row, RECORDED.cost(300, row) if index % 5 else None) for index, row in enumerate(rows)]


def test_a_study_in_sqlite_holds_the_history(tmp_path: Path) -> None:
    limited = replace(PROBLEM, criteria=(PROBLEM.criteria[0], replace(PROBLEM.criteria[1], limit=1.0)))
    write_study(limited, history(12), tmp_path / "study.db", "made up")
    loaded = optuna.load_study(study_name="made up", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [trial.user_attrs["candidate"] for trial in loaded.trials] == list(range(12))
    for trial, observation in zip(loaded.trials, history(12), strict=True):
        latency = PROBLEM.space.static(observation.point)["latency_ms"]
        assert trial.constraints == {"latency_ms": pytest.approx(latency - 1.0)}
        assert (trial.values is None) == (observation.costs is None)
        if observation.costs is not None:
            assert trial.values == pytest.approx(observation.costs)
    with pytest.raises(ConfigError, match="study.db exists already; remove it, or choose another file"):
        write_study(limited, [], tmp_path / "study.db", "made up")


def test_a_study_that_is_there_gains_what_it_lacks(tmp_path: Path) -> None:
    write_study(PROBLEM, history(4), tmp_path / "study.db", "made up")
    for count in (9, 9, 12):
        extend_study(PROBLEM, history(count), tmp_path / "study.db", "made up")
        loaded = optuna.load_study(study_name="made up", storage=f"sqlite:///{tmp_path / 'study.db'}")
        assert [trial.user_attrs["candidate"] for trial in loaded.trials] == list(range(count))


def test_what_is_maximized_is_told_with_its_own_sign() -> None:
    turned = replace(PROBLEM, criteria=(replace(PROBLEM.criteria[0], maximized=True), Criterion("latency_ms")))
    for name in ("tpe", "nsga2"):
        suggestions = OptunaSearch(name).ask(turned, history(12), 2, random.Random(0))
        assert len(suggestions) == 2


def test_nsga2_makes_children_of_the_generations_before() -> None:
    """All in the history are of one kind; a sampler that found no parents would draw the others too."""
    kind = PROBLEM.space.flatten(0)["kind"]
    rows = [row for row in range(len(synthetic_table())) if PROBLEM.space.flatten(row)["kind"] == kind][:12]
    observation = [Observation(index, row, RECORDED.cost(300, row)) for index, row in enumerate(rows)]
    suggestions = OptunaSearch("nsga2").ask(PROBLEM, observation, 20, random.Random(0))
    assert sum(PROBLEM.space.flatten(suggestion.point)["kind"] == kind for suggestion in suggestions) >= 14


@pytest.mark.parametrize("trained", [0, 3])
def test_nsga2_makes_children_of_what_earlier_searches_left(trained: int) -> None:
    kind = PROBLEM.space.flatten(0)["kind"]
    rows = [row for row in range(len(synthetic_table())) if PROBLEM.space.flatten(row)["kind"] == kind][: 12 + trained]
    observation = [Observation(index - 12, row, RECORDED.cost(300, row)) for index, row in enumerate(rows)]
    suggestions = OptunaSearch("nsga2").ask(PROBLEM, observation, 20, random.Random(0))
    assert sum(PROBLEM.space.flatten(suggestion.point)["kind"] == kind for suggestion in suggestions) >= 14


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "find_spec", lambda name: None if name == "optuna" else object())
    with pytest.raises(ConfigError, match="the strategy optuna-gp needs optuna; install with: pip install optuna"):
        strategy("optuna-gp")
    strategy("frontier")
