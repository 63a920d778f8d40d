"""The plan's answers to limits that are hard or impossible to meet, and to budgets that make no sense."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from codenas.arch import Design, SearchSpace, preset
from codenas.arch.cost import parameters, stored_bytes
from codenas.errors import BudgetError
from codenas.metrics import Metrics
from codenas.search.actions import Done, Job, Propose, Train, Wait
from codenas.search.candidate import Budget, Outcome, Refusal
from codenas.search.fitness import DEFAULT_OBJECTIVES, Objective
from codenas.search.history import History
from codenas.search.limits import require_reachable
from codenas.search.loop import run_search
from codenas.search.plan import Plan
from codenas.search.rungs import best_at_rung
from codenas.search.static_metrics import VocabularySize, closed_form
from tests.fakes import tiny_arch
from tests.search.synthetic import SMALL_SPACE, VOCAB_SIZE, Curves, make_plan, next_job

SPACE = preset("tiny")
BUDGET = Budget(candidates=4, rungs=(5, 20), promote=(2,))


@pytest.mark.parametrize("name", ["random", "evolution", "genetic", "frontier", "front-only"])
def test_a_space_of_four_is_proposed_whole(name: str) -> None:
    """What was proposed and has not reported yet counts as tried: else a strategy that knows what it wants repeats it."""
    plan = make_plan(Budget(candidates=4, rungs=(5,), promote=()), name, space=SMALL_SPACE, objectives=limited())
    history = run_search(plan, History(), Curves(plan.budget))
    assert len({trial.candidate.design.digest for trial in history.trials}) == 4


def reachable(plan: Plan, draws: int) -> Design:
    return require_reachable(plan.space, plan.static_metrics, plan.objectives, plan.seed, draws)


def limited(**limits: float) -> tuple[Objective, ...]:
    return (*DEFAULT_OBJECTIVES[:1], *(Objective(metric=metric, limit=limit) for metric, limit in limits.items()))


def test_the_closed_form_knows_parameters_and_bytes_and_nothing_else() -> None:
    arch = tiny_arch()
    known = closed_form(Design(arch=arch), VocabularySize(VOCAB_SIZE))
    assert known == Metrics(params=parameters(arch, VOCAB_SIZE), size_bytes=stored_bytes(arch, VOCAB_SIZE))


def with_tokenizer(objectives: tuple[Objective, ...]) -> Plan:
    return replace(make_plan(BUDGET, objectives=objectives), tokenizer_bytes=250_000)


def test_a_limit_that_can_be_met_gives_the_smallest_found() -> None:
    plan = make_plan(BUDGET, objectives=limited(size_bytes=4e6))
    smallest = reachable(plan, draws=300)
    assert (smallest.arch.d_model, smallest.arch.n_layers) == (128, 2)
    assert reachable(plan, draws=300) == smallest


def test_a_limit_out_of_reach_is_named_with_the_nearest_that_could_be_met_all_in_one_unit() -> None:
    smallest = reachable(with_tokenizer(()), draws=300)
    nearest = stored_bytes(smallest.arch, VOCAB_SIZE, smallest.storage) + 250_000
    outside = f"size_bytes {nearest / 1e6:.6g} MB is outside its limit, at most 0.1 MB"
    message = rf"no architecture can meet the limit: .*d_model 128, 2 layers.*{outside}; relax the limit to [\d.]+ MB or search smaller"
    with pytest.raises(BudgetError, match=message):
        reachable(with_tokenizer(limited(size_bytes=100_000)), draws=300)


def test_a_limit_that_the_message_names_is_met() -> None:
    with pytest.raises(BudgetError) as caught:
        reachable(with_tokenizer(limited(size_bytes=100_000)), draws=300)
    named = re.search(r"relax the limit to ([\d.]+) MB", str(caught.value))
    assert named is not None
    reachable(with_tokenizer(limited(size_bytes=float(named[1]) * 1e6)), draws=300)
    with pytest.raises(BudgetError, match=r"params [\d,]+ is outside its limit, at most 1,000; relax the limit to [\d,]+ or"):
        reachable(with_tokenizer(limited(params=1_000)), draws=300)


BESIDE = {"storage": ("float16", "int4"), "pruning": (0.0, 0.5), "vocabulary": (None, "char")}
CHAR = VocabularySize(ids=270, stored_bytes=1_000)


def beside(objectives: tuple[Objective, ...]) -> Plan:
    """A search over what is beside the architecture too."""
    space = SPACE.model_copy(update={"choices": {**SPACE.choices, **BESIDE}})
    return replace(with_tokenizer(objectives), space=space, vocabularies={"char": CHAR})


def test_the_closed_form_is_that_of_what_is_stored() -> None:
    design = Design(arch=tiny_arch(), storage="int4", pruning=0.5)
    known = closed_form(design, CHAR)
    assert known.params == parameters(design.stored_arch, 270) < parameters(design.arch, 270)
    assert known.size_bytes == stored_bytes(design.stored_arch, 270, "int4") + 1_000


def test_the_smallest_is_the_smallest_as_stored() -> None:
    smallest = reachable(beside(limited(size_bytes=4e6)), draws=2_000)
    assert (smallest.storage, smallest.pruning, smallest.vocabulary) == ("int4", 0.5, "char")
    with pytest.raises(BudgetError, match=r"d_model 128, 2 layers, char, int4, pruned by 0.5\) size_bytes .*; relax the limit to"):
        reachable(beside(limited(size_bytes=10_000)), draws=2_000)


def test_a_limit_on_parameters_is_judged_by_the_fewest_whatever_they_are_stored_as() -> None:
    with pytest.raises(BudgetError) as caught:
        reachable(beside(limited(params=1_000)), draws=500)
    named = re.search(r"relax the limit to ([\d,]+) or", str(caught.value))
    assert named is not None
    reachable(beside(limited(params=int(named[1].replace(",", "")))), draws=500)
    with pytest.raises(BudgetError):
        reachable(beside(limited(params=int(named[1].replace(",", "")) - 1)), draws=500)


def test_what_is_beside_the_architecture_is_searched_and_counted() -> None:
    plan = beside(limited(size_bytes=50e6))
    plan = replace(plan, budget=Budget(candidates=24, rungs=(5,), promote=()))
    candidates = [trial.candidate for trial in run_search(plan, History(), Curves(plan.budget)).trials]
    assert len({candidate.design.digest for candidate in candidates}) == len(candidates)
    for path, values in BESIDE.items():
        assert {getattr(candidate.design, path) for candidate in candidates} == set(values)


def test_the_prediction_is_asked_for_what_decodes_in_its_own_vocabulary() -> None:
    asked = list[tuple[Design, int]]()

    def min_latency_ms(design: Design, vocab_size: int) -> float:
        asked.append((design, vocab_size))
        return 0.1

    plan = replace(beside(limited(latency_ms_p50=3.0)), min_latency_ms=min_latency_ms)
    designs = [trial.candidate.design for trial in run_search(plan, History(), Curves(BUDGET)).trials]
    assert asked == [(design, VOCAB_SIZE if design.vocabulary is None else 270) for design in designs]


def test_a_limit_that_is_only_measured_later_is_not_judged_now() -> None:
    without = make_plan(BUDGET, objectives=limited())
    plan = make_plan(BUDGET, objectives=limited(latency_ms_p50=1e-9, bits_per_byte=1e-9))
    assert reachable(plan, draws=10) == reachable(without, draws=10)


def test_the_tokenizer_counts_when_a_candidate_enters() -> None:
    plan = with_tokenizer(limited(size_bytes=200_000))
    with pytest.raises(BudgetError, match=r"size_bytes [\d.]+ MB is outside its limit, at most 0.2 MB"):
        run_search(plan, history := History(), Curves(BUDGET))
    for trial in history.trials:
        assert trial.refusal is not None
        design = trial.candidate.design
        assert trial.refusal.metrics.size_bytes == stored_bytes(design.arch, VOCAB_SIZE, design.storage) + 250_000


def test_when_all_are_refused_before_training_the_search_says_why() -> None:
    plan = make_plan(BUDGET, objectives=limited(params=1_000))
    history = History()
    with pytest.raises(BudgetError, match=r"refused.*params [\d,]+ is outside its limit, at most 1,000; relax the limit"):
        run_search(plan, history, Curves(BUDGET))
    assert all(trial.refusal for trial in history.trials)


def test_each_refusal_is_logged_also_where_nothing_was_built(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "codenas")
    history = run_search(make_plan(BUDGET, "random", objectives=limited(size_bytes=1_200_000)), History(), Curves(BUDGET))
    refused = [f"  {t.candidate.id} (random) refused: {t.refusal.reason}" for t in history.trials if t.refusal is not None]
    assert refused and caplog.messages == refused


def test_when_all_are_refused_by_what_was_measured_the_search_says_why() -> None:
    objectives = limited(latency_ms_p50=0.5)

    def refuse(job: Job) -> Outcome:
        metrics = Metrics(latency_ms_p50=1.25 + job.candidate.index)
        return Refusal(index=job.candidate.index, reason=objectives[1].broken_by(metrics) or "", metrics=metrics)

    with pytest.raises(
        BudgetError, match="latency_ms_p50 .* is outside its limit, at most 0.5 ms per token; relax the limit to 1.25 ms per token or"
    ):
        run_search(make_plan(BUDGET, objectives=objectives), History(), refuse)


def test_of_two_limits_the_one_that_refused_most_is_named_with_the_nearest_that_broke_it() -> None:
    objectives = limited(latency_ms_p50=0.5, bits_per_byte=1.0)

    def refuse(job: Job) -> Outcome:
        slow = Metrics(latency_ms_p50=2.0 + job.candidate.index, bits_per_byte=0.5)
        metrics = Metrics(latency_ms_p50=0.25, bits_per_byte=1.5) if job.candidate.index % 3 == 0 else slow
        return Refusal(index=job.candidate.index, reason="outside", metrics=metrics)

    with pytest.raises(
        BudgetError,
        match="latency_ms_p50 3 ms per token is outside its limit, at most 0.5 ms per token; relax the limit to 3 ms per token or",
    ):
        run_search(make_plan(BUDGET, objectives=objectives[:2]), History(), refuse)


def test_one_that_is_accepted_is_a_search() -> None:
    """A limit that nearly nothing meets ends the search with what was found, not with an error."""
    plan = make_plan(BUDGET, objectives=DEFAULT_OBJECTIVES)

    def only_the_first(job: Job) -> Outcome:
        if job.candidate.index == 0:
            return Curves(BUDGET)(job)
        return Refusal(index=job.candidate.index, reason="too slow", metrics=Metrics(latency_ms_p50=9.0))

    history = run_search(plan, History(), only_the_first)
    assert [trial.candidate.index for trial in history.trials if trial.report(20)] == [0]


def test_finalists_of_every_rung_come_best_first() -> None:
    plan = make_plan(Budget(candidates=8, rungs=(5, 10, 20), promote=(4, 2)), objectives=limited())
    history = run_search(plan, History(), Curves(plan.budget))
    for number, count in ((1, 4), (2, 2)):
        bits = [trial.reports[number - 1].metrics.bits_per_byte or 0.0 for trial in plan.finalists(history, number)]
        assert len(bits) == count and bits == sorted(bits)
    assert len(plan.finalists(history, 0)) == 8


def test_another_seed_is_another_search() -> None:
    plans = [make_plan(BUDGET, "random"), make_plan(BUDGET, "random")]
    first, same = (run_search(plan, History(), Curves(BUDGET)).trials for plan in plans)
    assert first == same
    space = SearchSpace(base=SPACE.base, choices=SPACE.choices)
    other = run_search(type(plans[0])(space, plans[0].strategy, BUDGET, DEFAULT_OBJECTIVES, VOCAB_SIZE, seed=1), History(), Curves(BUDGET))
    assert {trial.candidate.arch.digest for trial in other.trials} != {trial.candidate.arch.digest for trial in first}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rungs": (300, 50)}, "must be positive and rise"),
        ({"rungs": (50, 50)}, "must be positive and rise"),
        ({"rungs": (0, 50)}, "must be positive and rise"),
        ({"rungs": ()}, "at least 1 item"),
        ({"promote": ()}, r"promote \[\] must have one number for each of the rungs \[50, 300\] but the last"),
        ({"promote": (30,)}, r"promote \[30\] of 24 candidates: .*no larger than the one before; set promote as well"),
        ({"candidates": 4}, r"promote \[6\] of 4 candidates: .*set promote as well as candidates"),
        ({"promote": (0,)}, r"promote \[0\] of 24 candidates: each number must be at least 1"),
        ({"candidates": 0}, "greater than or equal to 1"),
        ({"steps": 3}, "Extra inputs"),
        ({"repeats": -1}, "greater than or equal to 0"),
        ({"repeated": 1}, "greater than or equal to 2"),
    ],
)
def test_a_budget_without_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Budget.model_validate(values)


def test_the_total_of_a_budget() -> None:
    assert Budget().total_steps == 2_700
    assert Budget(candidates=12, promote=(4,)).total_steps == 1_600
    assert Budget(promote=(10,), least=(2,)).total_steps == 24 * 50 + 10 * 250  # at most
    assert Budget(candidates=3, rungs=(10,), promote=()).total_steps == 30
    assert Budget(candidates=8, rungs=(10, 20, 40), promote=(4, 1)).total_steps == 80 + 40 + 20
    assert Budget(repeats=2).total_steps == 2_700 + 2 * 3 * 300
    assert Budget(candidates=3, rungs=(10,), promote=(), repeats=1, repeated=9).total_steps == 60


def test_who_is_surely_too_slow_on_the_calibrated_device_is_refused_and_the_prediction_is_no_metric() -> None:
    """The layers as milliseconds: architectures of four are above the limit, and the others below or on it."""
    slow = replace(
        make_plan(BUDGET, objectives=limited(latency_ms_p50=3.0)), min_latency_ms=lambda design, vocab_size: float(design.arch.n_layers)
    )
    history = run_search(slow, History(), Curves(BUDGET))
    assert {trial.candidate.arch.n_layers for trial in history.trials if trial.refusal is None} <= {2, 3}
    refusals = [trial.refusal for trial in history.trials if trial.candidate.arch.n_layers == 4]
    assert refusals
    for refusal in refusals:
        assert refusal is not None
        assert refusal.reason == "latency_ms_p50 is predicted at 4 ms per token or more, outside its limit, at most 3 ms per token"
        assert refusal.metrics.latency_ms_p50 is None


def test_when_the_calibration_refuses_all_the_search_says_how_near_the_nearest_came() -> None:
    """It was `ValueError: min() arg is an empty sequence`: what is predicted is no metric of a refusal."""
    plan = replace(
        make_plan(BUDGET, objectives=limited(latency_ms_p50=1.0)), min_latency_ms=lambda design, vocab_size: design.arch.n_layers / 1
    )
    nearest = (
        r"of the nearest \(d_model \d+, 2 layers.*\) "
        r"latency_ms_p50 is predicted at 2 ms per token or more, outside its limit, at most 1 ms per token; relax the limit"
    )
    history = History()
    with pytest.raises(BudgetError, match=rf"no architecture met the limit: all of \d+ were refused, {nearest}"):
        run_search(plan, history, Curves(BUDGET))
    assert all(trial.refusal is not None and trial.refusal.metrics.latency_ms_p50 is None for trial in history.trials)
    with pytest.raises(BudgetError, match=nearest):  # resumed
        run_search(plan, history, Curves(BUDGET))
    with pytest.raises(BudgetError, match="the last of them because latency_ms_p50 is predicted at"):  # by a calibration that is lost
        run_search(replace(plan, min_latency_ms=None), history, Curves(BUDGET))


def test_without_a_limit_on_latency_nobody_is_asked_for_a_prediction() -> None:
    def never(design: Design, vocab_size: int) -> float:
        raise AssertionError

    plan = replace(make_plan(BUDGET, objectives=limited(size_bytes=50e6)), min_latency_ms=never)
    assert len(run_search(plan, History(), Curves(BUDGET)).trials) == BUDGET.candidates


def test_nobody_waits_for_a_place_that_cannot_be_taken_any_more() -> None:
    """With one of four open, the best of three is among the two best whatever it reports; under two objectives nobody is sure."""
    for objectives, expected in ((limited(), 20), (DEFAULT_OBJECTIVES, None)):
        plan, history = make_plan(BUDGET, "random", objectives=objectives), History()
        for _ in range(3):
            job = next_job(plan, history)
            assert job is not None
            history.add_outcome(Curves(BUDGET)(job))
        last = next_job(plan, history)
        assert last is not None and last.rung == 5
        early = next_job(plan, history, [last])
        assert (early.rung if early else None) == expected
        if early is not None:
            assert early.candidate == best_at_rung(history.trials, 5, 1, objectives)[0].candidate
            assert next_job(plan, history, [last, early]) is None


def test_a_plan_proposes_trains_waits_and_is_done_and_writes_nothing() -> None:
    budget = Budget(candidates=2, rungs=(5, 20), promote=(1,))
    plan, history, curves = make_plan(budget, lookback=1, space=SMALL_SPACE, objectives=limited()), History(), Curves(budget)
    proposed = plan.next(history)
    assert isinstance(proposed, Propose) and proposed.refusal is None and proposed == plan.next(history)
    assert len(history) == 0, "the driver records"
    history.propose(proposed.candidate)
    first = Job(proposed.candidate, 5)
    assert plan.next(history) == Train(first)
    second = plan.next(history, [first])
    assert isinstance(second, Propose) and second.candidate.index == 1
    history.propose(second.candidate)
    both = [first, Job(second.candidate, 5)]
    assert plan.next(history, both) == Wait()
    for job in both:
        history.add_outcome(curves(job))
    promoted_job = plan.next(history)
    assert isinstance(promoted_job, Train) and promoted_job.job.rung == 20
    assert plan.next(history, [promoted_job.job]) == Wait()
    history.add_outcome(curves(promoted_job.job))
    assert plan.next(history) == Done() and plan.finished(history)


def test_a_refusal_comes_with_its_proposal() -> None:
    plan = make_plan(BUDGET, objectives=limited(params=1_000))
    action = plan.next(History())
    assert isinstance(action, Propose) and action.refusal is not None and action.refusal.index == action.candidate.index == 0
    assert action.refusal.metrics == plan.static_metrics.counted(action.candidate.design)
