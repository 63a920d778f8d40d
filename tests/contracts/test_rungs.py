"""The contract of the rungs: any number of workers, in any order, with any interruptions, walks through one search."""

import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.arch.cost import parameters
from codenas.search.actions import Done, Job
from codenas.search.candidate import Budget, Failure, Outcome, Trial
from codenas.search.design_space import observations
from codenas.search.fitness import DEFAULT_OBJECTIVES, Objective, weighted_fitness
from codenas.search.history import History
from codenas.search.loop import next_action, run_search
from codenas.search.plan import Plan
from codenas.search.repeats import finalists_to_repeat
from codenas.search.rungs import best_at_rung
from codenas.search.warm_start import collect_prior_trials
from tests.search.synthetic import SMALL_SPACE, VOCAB_SIZE, Curves, Pool, make_plan, next_job

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=8)

TWO_RUNGS = Budget(candidates=24, rungs=(50, 300), promote=(6,))
DEMO = Budget(candidates=12, rungs=(50, 300), promote=(4,))
THREE_RUNGS = Budget(candidates=16, rungs=(20, 60, 180), promote=(6, 3))
REPEATED = Budget(candidates=12, rungs=(20, 60), promote=(4,), repeats=2)
ADAPTIVE = Budget(candidates=24, rungs=(50, 300), promote=(10,), least=(2,))
ADAPTIVE_LADDER = Budget(candidates=16, rungs=(20, 60, 180), promote=(8, 5), least=(3, 1))
QUALITY = (Objective(metric="bits_per_byte", weight=1.0), Objective(metric="size_bytes"))
LIMITED = (*DEFAULT_OBJECTIVES, Objective(metric="params", limit=1_000_000))


@dataclass(slots=True, frozen=True)
class Scenario:
    """A search, and how its jobs end; a `warm` one begins with what another one has learned."""

    cold: Plan
    refused: float = 0.0
    failed: float = 0.0
    warm: bool = False

    @property
    def plan(self) -> Plan:
        return replace(self.cold, warm_start=LEARNED) if self.warm else self.cold

    @property
    def outcome(self) -> Curves:
        return Curves(self.plan.budget, self.refused, self.failed)


EARLIER = make_plan(Budget(candidates=10, rungs=(20, 60), promote=(5,)), "random")
LEARNED = collect_prior_trials(
    {"earlier": run_search(EARLIER, History(), Curves(EARLIER.budget)).trials}, 20, EARLIER.space, EARLIER.objectives, 3
)

SCENARIOS: dict[str, Scenario] = {
    "two rungs": Scenario(make_plan(TWO_RUNGS)),
    "demo": Scenario(make_plan(DEMO, "random")),
    "three rungs": Scenario(make_plan(THREE_RUNGS)),
    "one rung": Scenario(make_plan(Budget(candidates=9, rungs=(10,), promote=()))),
    "looks at everything": Scenario(make_plan(DEMO, lookback=0), refused=0.2),
    "looks at nothing": Scenario(make_plan(DEMO, lookback=99), failed=0.2),
    "some fail": Scenario(make_plan(THREE_RUNGS), failed=0.3),
    "some are refused": Scenario(make_plan(TWO_RUNGS), refused=0.3),
    "most are refused": Scenario(make_plan(DEMO, "random"), refused=0.94),
    "some of both": Scenario(make_plan(THREE_RUNGS), refused=0.3, failed=0.3),
    "all fail": Scenario(make_plan(DEMO), failed=1.0),
    "a limit in closed form": Scenario(make_plan(DEMO, objectives=LIMITED), failed=0.1),
    "one objective": Scenario(make_plan(DEMO, objectives=QUALITY), refused=0.2),
    "one objective, some fail": Scenario(make_plan(THREE_RUNGS, objectives=QUALITY, lookback=2), refused=0.2, failed=0.2),
    "a small space": Scenario(make_plan(TWO_RUNGS, space=SMALL_SPACE)),
    "repeats": Scenario(make_plan(REPEATED), refused=0.1),
    "repeats, some fail": Scenario(make_plan(REPEATED, "random"), failed=0.3),
    "warm start": Scenario(make_plan(REPEATED), refused=0.2, warm=True),
    "warm start, one objective": Scenario(make_plan(DEMO, "genetic", objectives=QUALITY, lookback=2), failed=0.2, warm=True),
    "repeats of one rung": Scenario(
        make_plan(Budget(candidates=9, rungs=(10,), promote=(), repeats=3, repeated=2), objectives=QUALITY), failed=0.1
    ),
    "adaptive": Scenario(make_plan(ADAPTIVE, objectives=QUALITY)),
    "adaptive, over three objectives": Scenario(make_plan(ADAPTIVE, "random")),
    "adaptive, three rungs": Scenario(make_plan(ADAPTIVE_LADDER, objectives=QUALITY)),
    "adaptive, some fail": Scenario(make_plan(ADAPTIVE_LADDER), refused=0.2, failed=0.3),
    "adaptive, all fail": Scenario(make_plan(ADAPTIVE), failed=1.0),
    "adaptive, a small space": Scenario(make_plan(ADAPTIVE, space=SMALL_SPACE)),
}


def loop(scenario: Scenario) -> tuple[History, list[Job]]:
    """What `codenas.search.loop` does: one job after the other."""
    jobs: list[Job] = []

    def do(job: Job) -> Outcome:
        jobs.append(job)
        return scenario.outcome(job)

    return run_search(scenario.plan, History(), do), jobs


EXPECTED: dict[str, tuple[History, list[Job]]] = {name: loop(scenario) for name, scenario in SCENARIOS.items()}


def steps(history: History) -> int:
    return sum(report.steps for trial in history.trials for report in trial.all_reports)


def winner(plan: Plan, history: History) -> Trial | None:
    finalists = [trial for trial in plan.finalists(history, len(plan.budget.rungs) - 1) if trial.report(plan.budget.rungs[-1])]
    fitness = weighted_fitness([trial.reports[-1].metrics for trial in finalists], plan.objectives)
    return finalists[fitness.index(min(fitness))] if finalists else None


def counted(jobs: list[Job]) -> Counter[tuple[str, int]]:
    return Counter((job.candidate.id, job.rung) for job in jobs)


@pytest.mark.parametrize("name", SCENARIOS)
@given(workers=st.integers(1, 4), seed=st.integers(0, 10_000))
@DETERMINISTIC
def test_any_workers_in_any_order_do_what_the_loop_does(name: str, workers: int, seed: int) -> None:
    scenario, (expected, jobs) = SCENARIOS[name], EXPECTED[name]
    pool = Pool(scenario.plan, scenario.outcome, workers, random.Random(seed))
    history = pool.run()
    assert history.trials == expected.trials
    assert counted(pool.handed_out) == counted(jobs)
    assert steps(history) == steps(expected)
    assert winner(scenario.plan, history) == winner(scenario.plan, expected)


@pytest.mark.parametrize("name", SCENARIOS)
@given(workers=st.integers(1, 4), seed=st.integers(0, 10_000), kills=st.sampled_from([0.02, 0.1, 0.3]))
@DETERMINISTIC
def test_a_driver_that_is_killed_anywhere_ends_where_the_loop_does(name: str, workers: int, seed: int, kills: float) -> None:
    scenario, (expected, jobs) = SCENARIOS[name], EXPECTED[name]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        pool = Pool(scenario.plan, scenario.outcome, workers, random.Random(seed), path, kills)
        history = pool.run()
        assert history.trials == expected.trials == History(path).trials
    assert set(counted(pool.handed_out)) == set(counted(jobs))
    assert steps(history) == steps(expected)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_finished_search_stays_finished(name: str) -> None:
    plan, (history, _) = SCENARIOS[name].plan, EXPECTED[name]
    before = history.trials
    assert plan.finished(history)
    assert next_action(plan, history) == Done()
    assert history.trials == before


@pytest.mark.parametrize(("name", "total"), [("two rungs", 2_700), ("demo", 1_600), ("three rungs", 920), ("one rung", 90)])
def test_the_sum_of_steps_is_exact(name: str, total: int) -> None:
    budget, (history, jobs) = SCENARIOS[name].plan.budget, EXPECTED[name]
    assert steps(history) == budget.total_steps == total
    assert len(jobs) == budget.candidates + sum(budget.promote)


@pytest.mark.parametrize("name", ["some fail", "some are refused", "some of both", "looks at everything"])
def test_the_refused_are_replaced_and_the_failed_are_kept(name: str) -> None:
    budget, (history, _) = SCENARIOS[name].plan.budget, EXPECTED[name]
    refused = [trial for trial in history.trials if trial.refusal]
    failed = [trial for trial in history.trials if trial.failure]
    assert len(history) - len(refused) == budget.candidates
    assert bool(refused) == (SCENARIOS[name].refused > 0)
    assert bool(failed) == (SCENARIOS[name].failed > 0)
    assert not any(trial.reports for trial in refused)


def test_a_failure_on_a_higher_rung_is_not_replaced() -> None:
    plan, jobs = make_plan(THREE_RUNGS), list[Job]()

    def do(job: Job) -> Outcome:
        jobs.append(job)
        return Failure(index=job.candidate.index, rung=60, reason="diverged") if job.rung == 60 else Curves(THREE_RUNGS)(job)

    history = run_search(plan, History(), do)
    assert Counter(job.rung for job in jobs) == {20: 16, 60: 6}
    assert [trial.failure is not None for trial in plan.finalists(history, 1)] == [True] * 6
    assert plan.finalists(history, 2) == []


def test_nothing_outside_a_closed_form_limit_is_trained() -> None:
    history, jobs = EXPECTED["a limit in closed form"]
    refused = [trial for trial in history.trials if trial.refusal]
    assert refused
    assert not {job.candidate.index for job in jobs} & {trial.candidate.index for trial in refused}
    for trial in refused:
        assert trial.refusal is not None
        assert trial.refusal.metrics.params is not None and trial.refusal.metrics.params > 1_000_000
        assert "params" in trial.refusal.reason and "at most 1,000,000" in trial.refusal.reason


def test_a_space_smaller_than_the_search_ends_cleanly() -> None:
    plan, (history, _) = SCENARIOS["a small space"].plan, EXPECTED["a small space"]
    assert len(history) == SMALL_SPACE.cardinality < plan.budget.candidates
    assert len({trial.candidate.design.digest for trial in history.trials}) == len(history)
    assert all(trial.report(50) and trial.report(300) for trial in history.trials)


def test_when_all_fail_none_is_promoted() -> None:
    plan, (history, jobs) = SCENARIOS["all fail"].plan, EXPECTED["all fail"]
    assert len(jobs) == len(history) == plan.budget.candidates
    assert plan.finalists(history, 1) == [] and winner(plan, history) is None


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_architecture_is_proposed_twice(name: str) -> None:
    digests = [trial.candidate.design.digest for trial in EXPECTED[name][0].trials]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", SCENARIOS)
def test_promotion_depends_on_the_reports_of_its_rung_and_on_nothing_else(name: str) -> None:
    plan, (history, _) = SCENARIOS[name].plan, EXPECTED[name]
    rung = plan.budget.rungs[0]
    chosen = best_at_rung(history.trials, rung, 6, plan.objectives)
    shuffled = random.Random(0).sample(history.trials, len(history))
    assert best_at_rung(shuffled, rung, 6, plan.objectives) == chosen
    assert all(trial.report(rung) for trial in chosen)
    below = [trial.model_copy(update={"reports": trial.reports[:1]}) for trial in history.trials]
    assert [trial.candidate for trial in best_at_rung(below, rung, 6, plan.objectives)] == [trial.candidate for trial in chosen]


def test_beyond_a_target_promotion_and_strategies_see_equals() -> None:
    history = EXPECTED["two rungs"][0]
    sizes = {each.candidate.index: report.metrics.size_bytes or 0 for each in history.trials if (report := each.report(50))}
    largest = Objective(metric="size_bytes", weight=1.0, target=max(sizes.values()))
    assert [trial.candidate.index for trial in best_at_rung(history.trials, 50, 6, (largest,))] == sorted(sizes)[:6]
    assert {each.costs for each in observations(history.trials, 50, (largest,))} == {(largest.target,)}
    problem = make_plan(TWO_RUNGS, objectives=(largest,)).problem()
    assert {problem.known_costs(trial.candidate.design) for trial in history.trials} == {(largest.target,)}


def test_the_longest_of_the_promoted_starts_first() -> None:
    _, jobs = EXPECTED["two rungs"]
    sizes = [parameters(job.candidate.arch, VOCAB_SIZE) for job in jobs if job.rung == 300]
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("adaptive")])
def test_adaptive_promotion_stays_within_its_bounds(name: str) -> None:
    plan, (history, jobs) = SCENARIOS[name].plan, EXPECTED[name]
    budget, below = plan.budget, {trial.candidate.index for trial in history.trials}
    for number, (least, most) in enumerate(zip(budget.at_least, budget.promote, strict=True), 1):
        reported = {trial.candidate.index for trial in history.trials if trial.report(budget.rungs[number - 1])} & below
        going = [trial.candidate.index for trial in plan.finalists(history, number)]
        assert min(least, len(reported)) <= len(going) <= most
        assert set(going) == {job.candidate.index for job in jobs if job.rung == budget.rungs[number]}
        assert set(going) <= reported, "who failed below does not go on"
        below = set(going)
    assert steps(history) <= budget.total_steps


def test_promotion_between_equal_bounds_is_the_fixed_one() -> None:
    fixed, (history, jobs) = SCENARIOS["two rungs"].plan, EXPECTED["two rungs"]
    bounded = replace(fixed, budget=TWO_RUNGS.model_copy(update={"least": (6,)}))
    assert not bounded.budget.adaptive
    found, done = loop(Scenario(bounded))
    assert (found.trials, done) == (history.trials, jobs)


def test_every_candidate_trains_with_the_same_seed() -> None:
    assert len({trial.candidate.seed for trial in EXPECTED["two rungs"][0].trials}) == 1


def test_the_best_are_repeated_from_the_first_step_with_seeds_that_they_share() -> None:
    (history, jobs), plan = EXPECTED["repeats"], SCENARIOS["repeats"].plan
    again = [job for job in jobs if job.candidate.repeat]
    assert jobs[-len(again) :] == again, "repeats come last"
    assert Counter(job.candidate.index for job in again) == {trial.candidate.index: 2 for trial in history.trials if trial.repeats}
    assert len(again) == REPEATED.repeat_trainings(4) == 6 and {job.rung for job in again} == {60}
    assert steps(history) == REPEATED.total_steps == 12 * 20 + 4 * 40 + 6 * 60
    assert len({job.candidate.seed for job in again}) == 2 and not {job.candidate.seed for job in again} & {jobs[0].candidate.seed}
    chosen = {trial.candidate.index for trial in finalists_to_repeat(plan.finalists(history, 1), REPEATED, plan.objectives)}
    assert chosen == {job.candidate.index for job in again}


def test_repeats_keep_all_workers_busy() -> None:
    """Six trainings of three candidates: six workers begin them at once."""
    plan, (history, _) = SCENARIOS["repeats"].plan, EXPECTED["repeats"]
    begun = History()
    for trial in history.trials:
        begun.propose(trial.candidate)
    for trial in history.trials:
        for outcome in (*trial.reports, *((trial.refusal,) if trial.refusal else ())):
            begun.add_outcome(outcome)
    repeating = list[Job]()
    while (job := next_job(plan, begun, repeating)) is not None:
        repeating.append(job)
    assert len({(job.candidate.index, job.candidate.repeat) for job in repeating}) == len(repeating) == 6


def test_a_repeat_that_fails_leaves_its_candidate_in_the_search() -> None:
    plan = SCENARIOS["repeats"].plan

    def do(job: Job) -> Outcome:
        return job.failed("diverged") if job.candidate.repeat == 2 else Curves(REPEATED)(job)

    history = run_search(plan, History(), do)
    again = [trial for trial in history.trials if trial.repeats]
    assert len(again) == 3 and all(len(trial.failed_repeats) == 1 and not trial.stopped for trial in again)
    assert steps(history) == REPEATED.total_steps - 3 * 60


@pytest.mark.parametrize("name", ["warm start", "warm start, one objective"])
def test_the_best_of_an_earlier_search_come_first_and_are_nobodys_children(name: str) -> None:
    trials = EXPECTED[name][0].trials
    first = [trial.candidate for trial in trials[: len(LEARNED.proposed)]]
    assert [(each.design, each.origin, each.parents) for each in first] == [(design, "warm start", ()) for design in LEARNED.proposed]
    assert all(0 <= parent < trial.candidate.index for trial in trials for parent in trial.candidate.parents)
    assert not any(trial.candidate.origin in ("random", "warm start") for trial in trials[len(first) :]), (
        "what was learned spares the warm-up"
    )
