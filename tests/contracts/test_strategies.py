"""The contract of every strategy: no memory of its own, nothing outside the space, an answer to any history.

On designs and on the rows of a table.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from codenas.arch import Design, SearchSpace, preset
from codenas.arch.cost import body_parameters, parameters
from codenas.errors import ConfigError
from codenas.metrics import Metrics
from codenas.search.candidate import Candidate, Failure, Refusal, Report, Trial
from codenas.search.design_space import DesignSpace, criteria, observations
from codenas.search.fitness import DEFAULT_OBJECTIVES
from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.rungs import best_at_rung
from codenas.search.static_metrics import CAPACITY
from codenas.search.strategies.base import Observation, Problem, Strategy, Suggestion
from codenas.search.strategies.evolution import Evolution
from codenas.search.strategies.optuna_samplers import OptunaSearch
from codenas.search.strategies.registry import STRATEGIES, strategy
from tests.search.tables import synthetic_table

RUNG = 50


@cache
def counted(design: Design) -> dict[str, float]:
    """What is known of a design before training."""
    return {CAPACITY: body_parameters(design.arch), "size_bytes": 2 * parameters(design.arch, 512), "latency_ms_p50": design.arch.n_layers}


def on_designs(space: SearchSpace) -> Problem[Design]:
    return Problem(DesignSpace(space, counted), criteria(DEFAULT_OBJECTIVES), CAPACITY)


PROBLEM = on_designs(preset("tiny"))
RECORDED = Recorded.of(synthetic_table(), ColumnRoles(("params", "latency_ms", "size_bytes"), ("bits_per_byte",), capacity="params"))
PROBLEMS: dict[str, Problem[Any]] = {"designs": PROBLEM, "a table": RECORDED.problem}


@pytest.fixture(params=STRATEGIES)
def asked(request: pytest.FixtureRequest) -> Strategy:
    for module in getattr(STRATEGIES[request.param], "needs", ()):
        pytest.importorskip(module)
    return strategy(request.param)


@pytest.fixture
def count(asked: Strategy) -> int:
    """How many to ask for at once. A Gaussian process is fitted anew for each, which takes a second."""
    return 1 if isinstance(asked, OptunaSearch) and asked.sampler == "gp" else 30


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem[Any]:
    return PROBLEMS[request.param]


def trial(index: int, design: Design, outcome: str = "report") -> Trial:
    """A trial whose figures are a function of its design."""
    new = Trial(candidate=Candidate(index=index, design=design, origin="random", seed=0))
    cost = int(design.digest, 16)
    metrics = Metrics(bits_per_byte=1 + cost % 997 / 997, size_bytes=1 + cost % 991, latency_ms_p50=1 + cost % 983 / 983)
    if outcome == "failed":
        return new.after(Failure(index=index, rung=RUNG, reason="diverged"))
    if outcome == "refused":
        return new.after(Refusal(index=index, reason="too large", metrics=Metrics(size_bytes=9)))
    if outcome == "open":
        return new
    return new.after(Report(index=index, rung=RUNG, steps=RUNG, metrics=metrics, seconds=1.0, checkpoint=""))


def drawn(count: int, outcomes: Sequence[str] = ("report",)) -> list[Trial]:
    rng = random.Random(7)
    return [trial(index, PROBLEM.space.sample(rng), outcomes[index % len(outcomes)]) for index in range(count)]


OUTCOMES = ("report", "failed", "report", "refused", "report")

HISTORIES: dict[str, list[Trial]] = {
    "empty": [],
    "one": drawn(1),
    "short": drawn(3),
    "long": drawn(40),
    "all failed": drawn(20, ["failed"]),
    "all refused": drawn(20, ["refused"]),
    "all open": drawn(5, ["open"]),
    "of all kinds": drawn(40, ["report", "failed", "report", "refused", "open"]),
    "the same again and again": [trial(index, PROBLEM.space.sample(random.Random(1))) for index in range(12)],
    "of an earlier search": [trial(index - 20, each.candidate.design) for index, each in enumerate(drawn(20))],
    "of an earlier search and this one": [
        trial(index - 14, each.candidate.design, outcome) for index, (each, outcome) in enumerate(zip(drawn(20), 4 * OUTCOMES, strict=True))
    ],
    "all but one failed": [*drawn(20, ["failed"]), trial(20, PROBLEM.space.sample(random.Random(2)))],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a strategy, asked once, said: a Gaussian process takes a second, so all tests look at the same answer."""

    history: list[Observation[Any]]
    before: list[Observation[Any]]
    suggestions: list[Suggestion[Any]]


@cache
def answer_of(name: str, place: str, past: str, count: int) -> Answer:
    history = shown(HISTORIES[past], PROBLEMS[place])
    before = list(history)
    return Answer(history, before, strategy(name).ask(PROBLEMS[place], history, count, random.Random(3)))


@pytest.fixture(params=HISTORIES)
def answer(request: pytest.FixtureRequest, asked: Strategy, problem: Problem[Any], count: int) -> Answer:
    name = next(name for name in STRATEGIES if strategy(name) == asked)
    place = next(place for place, each in PROBLEMS.items() if each is problem)
    return answer_of(name, place, request.param, count)


def shown(trials: Sequence[Trial], problem: Problem[Any]) -> list[Observation[Any]]:
    """`trials` as a strategy sees them; on a table the rows take the places of the designs, equal ones of equal ones."""
    if problem is not RECORDED.problem:
        return observations(trials, RUNG, DEFAULT_OBJECTIVES)
    rows = {each: random.Random(each).randrange(len(synthetic_table())) for each in sorted({one.candidate.design.digest for one in trials})}
    places = [rows[one.candidate.design.digest] for one in trials]
    return [
        Observation(one.candidate.index, row, RECORDED.cost(300, row) if one.reports else None)
        for one, row in zip(trials, places, strict=True)
    ]


def test_it_gives_what_is_asked_for_inside_the_space(asked: Strategy, problem: Problem[Any], answer: Answer, count: int) -> None:
    answers = {wanted: asked.ask(problem, answer.history, wanted, random.Random(3)) for wanted in {0, 1} - {count}}
    for wanted, suggestions in (answers | {count: answer.suggestions}).items():
        assert len(suggestions) == wanted
        assert all(problem.space.contains(suggestion.point) for suggestion in suggestions)


def test_the_same_history_and_generator_give_the_same_answer(asked: Strategy, problem: Problem[Any], answer: Answer, count: int) -> None:
    assert asked.ask(problem, answer.history, count, random.Random(3)) == answer.suggestions
    assert count == 1 or asked.ask(problem, answer.history, count, random.Random(5)) != answer.suggestions


def test_another_generator_gives_another_answer(asked: Strategy, problem: Problem[Any]) -> None:
    history = shown(HISTORIES["short"], problem)
    assert asked.ask(problem, history, 10, random.Random(4)) != asked.ask(problem, history, 10, random.Random(5))


def test_it_remembers_nothing_between_questions(asked: Strategy, problem: Problem[Any], count: int) -> None:
    fresh = asked.ask(problem, shown(HISTORIES["of all kinds"], problem), count, random.Random(6))
    for history in HISTORIES.values():
        asked.ask(problem, shown(history, problem), min(count, 3), random.Random(8))
    assert asked.ask(problem, shown(HISTORIES["of all kinds"], problem), count, random.Random(6)) == fresh


def test_it_changes_no_history(answer: Answer) -> None:
    assert answer.history == answer.before


def test_parents_are_candidates_that_reported(answer: Answer) -> None:
    reported = {each.index for each in answer.history if each.costs is not None}
    for suggestion in answer.suggestions:
        assert set(suggestion.parents) <= reported
        assert (suggestion.origin in ("mutation", "crossover")) == bool(suggestion.parents)


def test_a_space_of_one_point_is_enough(asked: Strategy, count: int) -> None:
    space = SearchSpace(base=preset("tiny").base, choices={"norm": ("rmsnorm",)})
    only = space.sample(random.Random(0))
    history = observations([trial(index, only) for index in range(10)], RUNG, DEFAULT_OBJECTIVES)
    assert {suggestion.point for suggestion in asked.ask(on_designs(space), history, count, random.Random(0))} == {only}


def test_evolution_draws_at_random_until_it_is_warm() -> None:
    evolution = Evolution(warmup=6)
    cold = evolution.ask(PROBLEM, shown(drawn(5), PROBLEM), 20, random.Random(0))
    warm = evolution.ask(PROBLEM, shown(drawn(6), PROBLEM), 20, random.Random(0))
    assert {suggestion.origin for suggestion in cold} == {"random"}
    assert {suggestion.origin for suggestion in warm} == {"mutation", "crossover"}


def test_the_parents_of_evolution_are_among_the_best() -> None:
    evolution, history = Evolution(population=8), HISTORIES["long"]
    best = [trial.candidate.index for trial in best_at_rung(history, RUNG, 8, DEFAULT_OBJECTIVES)]
    parents = [
        parent for suggestion in evolution.ask(PROBLEM, shown(history, PROBLEM), 300, random.Random(1)) for parent in suggestion.parents
    ]
    assert set(parents) <= set(best)
    assert parents.count(best[0]) > parents.count(best[-1])


def test_a_child_differs_from_its_parent_by_its_mutations() -> None:
    evolution = Evolution(crossover=0.0, mutations=2)
    for suggestion in evolution.ask(PROBLEM, shown(HISTORIES["long"], PROBLEM), 50, random.Random(2)):
        child = PROBLEM.space.flatten(suggestion.point)
        parent = PROBLEM.space.flatten(HISTORIES["long"][suggestion.parents[0]].candidate.design)
        assert sum(child[path] != parent[path] for path in child) == 2


def test_a_crossover_has_two_parents() -> None:
    suggestions = Evolution(crossover=1.0).ask(PROBLEM, shown(HISTORIES["long"], PROBLEM), 50, random.Random(3))
    assert all(suggestion.origin == "crossover" and len(set(suggestion.parents)) == 2 for suggestion in suggestions)


def test_an_unknown_strategy_is_answered_by_their_names() -> None:
    with pytest.raises(ConfigError, match=f"'magic'; choose one of {', '.join(STRATEGIES)}"):
        strategy("magic")
