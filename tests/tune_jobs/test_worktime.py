"""Where the workers' time goes adds up to the time that there was."""

from typing import Any

import pytest

from tune_jobs.worktime import PREPARING, STORING, WorkTime


def result(pid: int, took: float, **seconds: float) -> dict[str, Any]:
    return {"node_ip": "127.0.0.1", "pid": pid, "time_this_iter_s": took, **seconds}


def test_all_time_of_the_workers_is_counted_once() -> None:
    times = WorkTime()
    times.add(result(1, took=4, **{PREPARING: 1.0, STORING: 0.5}), now=107)  # at work from 103 on, 2.5 s of it in steps
    times.add(result(2, took=3, **{PREPARING: 1.0}), now=108)
    times.add(result(1, took=2, **{STORING: 0.25}), now=115)
    found = times.overhead(workers=2, began=100, ended=120, step_seconds=2.5 + 2 + 1.75)
    assert found == {
        "starting": 3 + 5,
        "preparing": 2,
        "storing": 0.75,
        "between jobs": pytest.approx(6),
        "at the end": 5 + 12,
    }
    assert sum(found.values()) + 6.25 == 2 * 20


def test_a_worker_that_nothing_was_left_for_and_one_that_took_anothers_place() -> None:
    times = WorkTime()
    times.add(result(1, took=1), now=101)
    assert times.overhead(workers=2, began=100, ended=101, step_seconds=1)["starting"] == 1
    times.add(result(2, took=1), now=109)  # after the process of the first had died
    found = times.overhead(workers=1, began=100, ended=109, step_seconds=2)
    assert (found["starting"], found["at the end"], found["between jobs"]) == (0, 0, 7)
