"""What a job will take, before it is run: counted where it can be counted, and bounds that hold where not."""

import pytest

from codenas.arch import SearchSpace
from codenas.arch.cost import parameters, training_flops_per_token
from codenas.errors import BudgetError
from codenas.experiment import estimate as module
from codenas.experiment.estimate import Device, estimate, search_stages
from codenas.experiment.jobs import SearchJob, TrainJob, TrialResources
from codenas.measure.training_speed import RandomBatches
from codenas.model import build_model
from codenas.search.candidate import Budget
from codenas.search.fitness import Objective
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer
from tests.fakes import CONTEXT, VOCAB_SIZE, tiny_arch

SPACE = SearchSpace(base=tiny_arch(), choices={"d_model": (16, 32)})
JOB = SearchJob(
    space=SPACE,
    budget=Budget(candidates=8, rungs=(50, 300), promote=(4,), repeats=2),
    train=TrainConfig(batch_size=4),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
)
CARDS = [Device("fast", 3e12, "measured"), Device("slow", 1e12, "measured")]


def test_steps_are_those_of_the_budget_and_of_the_branches_that_score() -> None:
    rungs = {stage.name: (stage.trainings, stage.steps) for stage in search_stages(JOB)}
    assert rungs == {"rung 50": (8, 8 * (50 + 30)), "rung 300": (4, 4 * 250), "repeats": (6, 6 * 300)}
    plain = JOB.model_copy(update={"trial": TrialResources(score_decay=0.0)})
    assert sum(stage.steps for stage in search_stages(plain)) == JOB.budget.total_steps


def test_tokens_and_flops_follow_from_designs_of_the_space() -> None:
    found = estimate(JOB, TrainJob(steps=1_000), JOB.plan(VOCAB_SIZE))
    costs = [training_flops_per_token(tiny_arch(d_model=width), VOCAB_SIZE) for width in (16, 32)]
    assert found.tokens(found.search[0]) == 640 * 4 * CONTEXT
    assert min(costs) < found.flops(found.search[0]) / found.tokens(found.search[0]) < max(costs)
    assert found.final.steps == 700 and found.sample.largest_parameters == parameters(tiny_arch(d_model=32), VOCAB_SIZE)


def test_the_search_takes_all_devices_and_the_final_training_the_fastest() -> None:
    found = estimate(JOB, TrainJob(), JOB.plan(VOCAB_SIZE))
    flops = sum(found.flops(stage) for stage in found.search)
    assert found.search_seconds(CARDS) == pytest.approx(flops / 4e12)
    assert found.final_seconds(CARDS) == pytest.approx(found.flops(found.final) / 3e12)
    assert found.final_seconds([Device("CPU", 1e9, "measured", cores=True)] * 2) == pytest.approx(found.flops(found.final) / 2e9)


def test_a_final_training_may_be_given_in_flops_and_in_larger_batches() -> None:
    found = estimate(JOB, TrainJob(compute=1e13, recipe=TrainConfig(batch_size=8)), JOB.plan(VOCAB_SIZE))
    assert found.flops(found.final) + 300 * 8 * found.sample.flops == pytest.approx(1e13, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_state_is_no_larger_than_assumed(optimizer: str) -> None:
    model = build_model(tiny_arch(), VOCAB_SIZE)
    trainer = Trainer(model, RandomBatches(VOCAB_SIZE, CONTEXT), TrainConfig.model_validate({"batch_size": 2, "optimizer": optimizer}))
    next(iter(trainer.run_to(1)))
    stored = sum(tensor.nbytes for name, tensor in trainer.state().items() if tensor.ndim and name != "progress")
    count = parameters(tiny_arch(), VOCAB_SIZE)
    assert 8 * count < stored <= module._STATE_BYTES * count


def test_limits_that_leave_nothing_are_one_line() -> None:
    job = JOB.with_limits({"size_bytes": 1.0})
    with pytest.raises(BudgetError, match="of 2,000 random designs none is inside the limits"):
        estimate(job, TrainJob(), job.plan(VOCAB_SIZE))
