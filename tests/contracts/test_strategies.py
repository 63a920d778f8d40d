"""The contract of every strategy: no memory of its own, nothing outside the space, an answer to any history."""

import random
from collections.abc import Sequence

import pytest

from codenas.arch import Design, SearchSpace, preset
from codenas.errors import ConfigError
from codenas.metrics import Metrics
from codenas.search.candidate import Candidate, Failure, Refusal, Report, Trial
from codenas.search.evolution import Evolution
from codenas.search.fitness import DEFAULT_OBJECTIVES
from codenas.search.rungs import promoted
from codenas.search.strategies import STRATEGIES, strategy
from codenas.search.strategy import Problem, Strategy

RUNG = 50
PROBLEM = Problem(preset("tiny"), DEFAULT_OBJECTIVES, RUNG)


@pytest.fixture(params=STRATEGIES)
def asked(request: pytest.FixtureRequest) -> Strategy:
    return strategy(request.param)


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
    "all but one failed": [*drawn(20, ["failed"]), trial(20, PROBLEM.space.sample(random.Random(2)))],
}


@pytest.fixture(params=HISTORIES)
def history(request: pytest.FixtureRequest) -> list[Trial]:
    return HISTORIES[request.param]


def test_it_gives_what_is_asked_for_inside_the_space(asked: Strategy, history: list[Trial]) -> None:
    for count in (0, 1, 30):
        ideas = asked.ask(PROBLEM, history, count, random.Random(3))
        assert len(ideas) == count
        assert all(PROBLEM.space.contains(idea.design) for idea in ideas)


def test_the_same_history_and_generator_give_the_same_answer(asked: Strategy, history: list[Trial]) -> None:
    answers = [asked.ask(PROBLEM, history, 10, random.Random(4)) for _ in range(2)]
    assert answers[0] == answers[1] != asked.ask(PROBLEM, history, 10, random.Random(5))


def test_it_remembers_nothing_between_questions(asked: Strategy) -> None:
    fresh = asked.ask(PROBLEM, HISTORIES["long"], 5, random.Random(6))
    for history in HISTORIES.values():
        asked.ask(PROBLEM, history, 3, random.Random(8))
    assert asked.ask(PROBLEM, HISTORIES["long"], 5, random.Random(6)) == fresh


def test_it_changes_no_history(asked: Strategy, history: list[Trial]) -> None:
    before = list(history)
    asked.ask(PROBLEM, history, 10, random.Random(9))
    assert history == before


def test_parents_are_candidates_that_reported(asked: Strategy, history: list[Trial]) -> None:
    reported = {trial.candidate.index for trial in history if trial.report(RUNG)}
    for idea in asked.ask(PROBLEM, history, 30, random.Random(10)):
        assert set(idea.parents) <= reported
        assert (idea.origin == "random") == (not idea.parents)


def test_a_space_of_one_point_is_enough(asked: Strategy) -> None:
    space = SearchSpace(base=PROBLEM.space.base, choices={"norm": ("rmsnorm",)})
    only = space.sample(random.Random(0))
    problem = Problem(space, DEFAULT_OBJECTIVES, RUNG)
    history = [trial(index, only) for index in range(10)]
    assert {idea.design for idea in asked.ask(problem, history, 5, random.Random(0))} == {only}


def test_evolution_draws_at_random_until_it_is_warm() -> None:
    evolution = Evolution(warmup=6)
    cold = evolution.ask(PROBLEM, drawn(5), 20, random.Random(0))
    warm = evolution.ask(PROBLEM, drawn(6), 20, random.Random(0))
    assert {idea.origin for idea in cold} == {"random"}
    assert {idea.origin for idea in warm} == {"mutation", "crossover"}


def test_the_parents_of_evolution_are_among_the_best() -> None:
    evolution, history = Evolution(population=8), HISTORIES["long"]
    best = [trial.candidate.index for trial in promoted(history, RUNG, 8, DEFAULT_OBJECTIVES)]
    parents = [parent for idea in evolution.ask(PROBLEM, history, 300, random.Random(1)) for parent in idea.parents]
    assert set(parents) <= set(best)
    assert parents.count(best[0]) > parents.count(best[-1])


def test_a_child_differs_from_its_parent_by_its_mutations() -> None:
    evolution = Evolution(crossover=0.0, mutations=2)
    for idea in evolution.ask(PROBLEM, HISTORIES["long"], 50, random.Random(2)):
        child = PROBLEM.space.flatten(idea.design)
        parent = PROBLEM.space.flatten(HISTORIES["long"][idea.parents[0]].candidate.design)
        assert sum(child[path] != parent[path] for path in child) == 2


def test_a_crossover_has_two_parents() -> None:
    ideas = Evolution(crossover=1.0).ask(PROBLEM, HISTORIES["long"], 50, random.Random(3))
    assert all(idea.origin == "crossover" and len(set(idea.parents)) == 2 for idea in ideas)


def test_an_unknown_strategy_is_answered_by_their_names() -> None:
    with pytest.raises(ConfigError, match=f"'magic'; choose one of {', '.join(STRATEGIES)}"):
        strategy("magic")
