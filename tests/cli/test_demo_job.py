"""The demo's job: its limits cut through its space, by figures that are known before anything is trained."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from codenas.arch.design import Design
from codenas.cli.job_file import DEMO_JOB, load_job
from codenas.search.fitness import broken_limit
from codenas.search.plan import Plan

SAMPLES = 1_000
TOKENIZER_BYTES = 260_000  # about what a vocabulary of 4,096 ids takes beside the weights


@pytest.fixture(scope="module")
def plan() -> Plan:
    job = load_job(DEMO_JOB)
    return job.search.plan(job.prepare.vocab_size, TOKENIZER_BYTES)


@pytest.fixture(scope="module")
def samples(plan: Plan) -> list[Design]:
    rng = random.Random(0)
    return [plan.space.sample(rng) for _ in range(SAMPLES)]


def admitted(plan: Plan, design: Design) -> bool:
    return broken_limit(plan.static_metrics.counted(design), plan.objectives) is None


def size(plan: Plan, design: Design) -> int:
    return plan.static_metrics.counted(design).size_bytes or 0


def test_the_limit_on_size_refuses_some_designs_and_admits_others(plan: Plan, samples: list[Design]) -> None:
    inside = sum(admitted(plan, design) for design in samples)
    assert 0.2 * SAMPLES < inside < 0.8 * SAMPLES


def test_the_largest_design_is_refused_however_it_is_stored(plan: Plan, samples: list[Design]) -> None:
    shallow = [design for design in samples if design.arch.n_layers < 10]
    for designs in (samples, shallow):
        largest = max(designs, key=lambda design: plan.static_metrics.counted(design).params or 0)
        for storage in ("float16", "int8", "int4"):
            assert not admitted(plan, largest.model_copy(update={"storage": storage}))


def test_storage_is_a_trade_inside_the_limit(plan: Plan, samples: list[Design]) -> None:
    """Every storage has designs inside, fewer bits have more and larger ones."""
    inside = [design for design in samples if admitted(plan, design)]
    counts = Counter(design.storage for design in inside)
    assert 0 < counts["float16"] < counts["int8"] < counts["int4"]
    largest = {
        storage: max(plan.static_metrics.counted(design).params or 0 for design in inside if design.storage == storage)
        for storage in counts
    }
    assert largest["float16"] < largest["int8"] < largest["int4"]


def test_deep_designs_are_refused_by_size_whatever_decodes_them(plan: Plan, samples: list[Design]) -> None:
    """Thin layers are slow in torch only: refused by latency, they would be trained where the native library is built."""
    deep = [design for design in samples if design.arch.n_layers >= 10]
    assert deep and not any(admitted(plan, design) for design in deep)


def test_no_design_is_near_the_limit_on_latency(plan: Plan) -> None:
    """A latency is measured: a design near the limit would be refused in one run and trained in the next."""
    layers = sorted(plan.space.choices["n_layers"])
    assert max(above / below for below, above in pairwise(layers)) > 10


def test_it_trains_fourteen_and_promotes_four() -> None:
    budget = load_job(DEMO_JOB).search.budget
    assert (budget.candidates, budget.rungs, budget.promote, budget.total_steps) == (14, (50, 300), (4,), 1_700)


def test_what_decides_repeats_to_the_last_digit(plan: Plan) -> None:
    assert {objective.metric for objective in plan.objectives if objective.weight > 0} == {"bits_per_byte", "size_bytes"}
