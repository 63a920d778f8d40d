"""What a search job says of its trials."""

import pytest
from pydantic import ValidationError

from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.search.candidate import Budget

BUDGET = Budget(candidates=8, rungs=(50, 100, 300), promote=(4, 2))


def job(score_decay: float | tuple[float, ...]) -> SearchJob:
    return SearchJob(budget=BUDGET, trial=TrialResources(score_decay=score_decay))


@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        (0.0, {}),
        (0.2, {50: 10, 100: 20, 300: 60}),
        ((0.6, 0.0, 0.1), {50: 30, 300: 30}),
        (0.001, {}),
    ],
)
def test_one_share_is_for_all_rungs_and_several_are_for_one_each(shares: float | tuple[float, ...], steps: dict[int, int]) -> None:
    assert job(shares).scoring_steps() == steps


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5, 0.5, 0.5)])
def test_shares_for_other_rungs_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"trial\.score_decay \[.*\] has not one share for each of the rungs \[50, 100, 300\]"):
        job(shares)


@pytest.mark.parametrize("share", [-0.1, 1.1, (0.5, 2.0, 0.5)])
def test_a_share_is_between_nothing_and_all(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="score_decay"):
        TrialResources.model_validate({"score_decay": share})
