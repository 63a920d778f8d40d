"""Progress lines, their ETA and the log, with a clock that is set by hand."""

import logging
from collections.abc import Iterator

import pytest

from codenas.log import LOGGER, Progress, configure, duration
from tests.fakes import Clock


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


@pytest.fixture
def lines() -> list[str]:
    """What is logged."""
    logged: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    LOGGER.handlers[:] = [Keep()]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    return logged


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (125, "2m05s"), (3_599.7, "1h00m"), (3_780, "1h03m"), (90_000, "25h00m")],
)
def test_durations_as_people_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_has_the_share_the_detail_the_elapsed_time_and_the_eta() -> None:
    clock = Clock(100.0)
    progress = Progress("search", 2_400, clock=clock)
    assert progress.line() == "search: 0/2,400 steps (0 %), 0s elapsed"
    progress.update(0)
    clock.advance(60)
    progress.update(600)
    assert progress.line("best 2.1") == "search: 600/2,400 steps (25 %), best 2.1, 1m00s elapsed, ETA 3m00s"


def test_the_speed_is_that_since_the_first_update() -> None:
    """Workers that take a minute to start, and what an earlier call had finished, are no part of it."""
    clock = Clock()
    progress = Progress("train", 100, initial=80, clock=clock)
    assert progress.done == 80 and progress.eta_seconds() is None
    clock.advance(60)
    progress.update(82)
    assert progress.eta_seconds() is None
    clock.advance(10)
    progress.update(92)
    assert progress.eta_seconds() == 8
    assert progress.line() == "train: 92/100 steps (92 %), 1m10s elapsed, ETA 8s"


def test_a_total_that_may_turn_out_smaller_is_shown_as_a_bound() -> None:
    clock = Clock()
    progress = Progress("search", 3_700, at_most=True, clock=clock)
    progress.update(0)
    clock.advance(10)
    progress.update(370)
    assert progress.line() == "search: 370 of at most 3,700 steps, 10s elapsed, ETA at most 1m30s"


def test_without_a_total_there_is_no_eta() -> None:
    clock = Clock()
    progress = Progress("read", 0, unit="files", clock=clock)
    clock.advance(3)
    progress.update(12)
    assert progress.eta_seconds() is None
    assert progress.line() == "read: 12 files, 3s elapsed"


def test_more_than_the_total_leaves_nothing() -> None:
    clock = Clock()
    progress = Progress("train", 10, clock=clock)
    progress.update(2)
    clock.advance(10)
    progress.update(12)
    assert progress.eta_seconds() == 0


def test_a_line_is_printed_when_the_last_is_old_enough(lines: list[str]) -> None:
    clock = Clock()
    progress = Progress("train", 100, every=5.0, clock=clock)
    for step in range(1, 13):
        clock.advance(1)
        progress.update(step)
    assert [line.split(",")[0] for line in lines] == ["train: 5/100 steps (5 %)", "train: 10/100 steps (10 %)"]


def test_the_closing_line(lines: list[str]) -> None:
    clock = Clock()
    progress = Progress("train", 1_000, clock=clock)
    clock.advance(61)
    progress.update(1_000)
    lines.clear()
    progress.finish()
    progress.finish("loss 2.5")
    assert lines == ["train: 1,000 steps in 1m01s", "train: 1,000 steps in 1m01s, loss 2.5"]


def test_the_log_goes_to_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.handlers[:] = []
    for _ in range(3):
        configure()
    LOGGER.info("a line")
    LOGGER.debug("a detail")
    assert capsys.readouterr() == ("", "a line\n")
    configure(debug=True)
    LOGGER.debug("a detail")
    assert capsys.readouterr() == ("", "a detail\n")
