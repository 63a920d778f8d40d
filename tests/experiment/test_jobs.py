"""What a search job says of its trials."""

from typing import Literal

import pytest
from pydantic import ValidationError

from codenas.experiment.jobs import SearchJob, TrialResources, migrated_job
from codenas.search.candidate import Budget

BUDGET = Budget(candidates=8, rungs=(50, 100, 300), promote=(4, 2))


Shares = float | tuple[float, ...] | Literal["auto"]


def job(score_decay: Shares) -> SearchJob:
    return SearchJob(budget=BUDGET, trial=TrialResources(score_decay=score_decay))


@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        (0.0, {}),
        (0.2, {50: 10, 100: 20, 300: 60}),
        ((0.6, 0.0, 0.1), {50: 30, 300: 30}),
        (0.001, {}),
        ("auto", {50: 30, 100: 60}),
    ],
)
def test_one_share_is_for_all_rungs_and_several_are_for_one_each(shares: Shares, steps: dict[int, int]) -> None:
    assert job(shares).scoring_steps() == steps


@pytest.mark.parametrize(
    ("rungs", "steps"),
    [((300,), {}), ((1, 2), {1: 1}), ((50, 300), {50: 30}), ((20, 60, 180, 540), {20: 12, 60: 36, 180: 108})],
)
def test_by_default_every_rung_that_promotes_is_scored_on_a_branch(rungs: tuple[int, ...], steps: dict[int, int]) -> None:
    assert SearchJob(budget=Budget(candidates=4, rungs=rungs, promote=(2,) * (len(rungs) - 1))).scoring_steps() == steps


def test_a_stored_job_keeps_the_scoring_that_it_names() -> None:
    """A run of a version whose default was the moving average has that in its file."""
    stored = job(0.0).model_dump_json()
    assert '"score_decay":0.0' in stored
    assert migrated_job(stored) == stored
    assert SearchJob.model_validate_json(stored).scoring_steps() == {}
    assert migrated_job(job("auto").model_dump_json()) == job("auto").model_dump_json()


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5, 0.5, 0.5)])
def test_shares_for_other_rungs_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"trial\.score_decay \[.*\] must have one share per rung; the rungs are \[50, 100, 300\]"):
        job(shares)


@pytest.mark.parametrize("share", [-0.1, 1.1, (0.5, 2.0, 0.5)])
def test_a_share_is_between_nothing_and_all(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="score_decay"):
        TrialResources.model_validate({"score_decay": share})


def test_a_job_of_an_earlier_version_may_call_the_accelerator_type_card() -> None:
    job = SearchJob.model_validate({"trial": {"card": "H100"}})
    assert job.trial.accelerator_type == "H100"
    assert '"accelerator_type":"H100"' in migrated_job('{"trial": {"card": "H100"}}')
