"""The front of a search as rows: the mean of its seeds counts."""

import pytest

from codenas.arch import Design
from codenas.metrics import Metrics
from codenas.report.front import front_rows
from codenas.search.candidate import Candidate, Report, Trial
from codenas.search.fitness import Objective
from tests.fakes import tiny_arch

OBJECTIVES = (Objective(metric="bits_per_byte", weight=1.0), Objective(metric="size_bytes"))


def trial(index: int, size: int, *scores: float) -> Trial:
    """A trial with the bits per byte of each of its seeds."""
    made = Trial(candidate=Candidate(index=index, design=Design(arch=tiny_arch()), origin="random", seed=0))
    for repeat, bits in enumerate(scores):
        metrics = Metrics(bits_per_byte=bits, size_bytes=size)
        made = made.after(Report(index=index, rung=10, steps=10, metrics=metrics, seconds=1.0, checkpoint="x", repeat=repeat))
    return made


def test_the_mean_over_seeds_is_what_is_shown_and_what_dominates() -> None:
    lucky, steady = trial(0, 100, 1.9, 2.5), trial(1, 100, 2.0, 2.0)
    (row,) = front_rows([lucky, steady], 1, 10, OBJECTIVES)
    assert (row.id, row.scores, row.winner) == ("c001", (2.0, 2.0), True)
    shown = {row.id: row for row in front_rows([lucky, steady], 0, 10, OBJECTIVES)}
    assert shown["c000"].metrics.bits_per_byte == pytest.approx(2.2) and shown["c000"].deviation == pytest.approx(0.424, abs=1e-3)


def test_one_seed_has_no_deviation_and_who_has_not_reported_no_row() -> None:
    rows = front_rows([trial(0, 100, 2.0), trial(1, 50, 2.1), trial(2, 10)], 0, 10, OBJECTIVES)
    assert [(row.id, row.deviation) for row in rows] == [("c000", None), ("c001", None)]
