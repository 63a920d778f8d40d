"""The training curve stays short, whatever the number of steps."""

import os

import pytest

from codenas.train.curve import CurveRecorder, Step, thinned
from tests.fakes import Clock


@pytest.mark.parametrize("steps", [0, 1, 7, 25, 26, 49, 50, 51, 300, 2_195])
def test_a_thinned_curve_is_short_ends_where_the_training_ends_and_keeps_the_mean(steps: int) -> None:
    losses = [(step, 5.0 - step / 1_000) for step in range(1, steps + 1)]
    curve = thinned(losses)
    assert len(curve) <= 25 and [step for step, _ in curve[-1:]] == [step for step, _ in losses[-1:]]
    before, total = 0, 0.0
    for step, mean in curve:
        total += mean * (step - before)
        before = step
    assert total == pytest.approx(sum(loss for _, loss in losses), rel=1e-4)


def test_what_is_watched_is_passed_on_and_noted_with_its_time_and_place() -> None:
    clock = Clock(100.0)
    recorder = CurveRecorder(clock)
    steps = [Step(51, 3.0, 0.1), Step(52, 2.0, 0.1)]
    assert list(recorder.watch(iter(steps))) == steps
    clock.advance(7.5)
    curve = recorder.curve()
    assert (curve.started, curve.seconds, curve.losses) == (100.0, 7.5, ((51, 3.0), (52, 2.0)))
    assert curve.worker.endswith(f":{os.getpid()}")


def test_a_clock_that_is_set_back_makes_no_negative_time() -> None:
    clock = Clock(100.0)
    recorder = CurveRecorder(clock)
    clock.advance(-60)
    assert recorder.curve().seconds == 0
