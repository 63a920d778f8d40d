"""Comparison of searches: significant differences, ties, and what is not assessed."""

from dataclasses import replace
from pathlib import Path
from statistics import stdev

import pytest
from matplotlib.figure import Figure

from codenas.arch import Design
from codenas.metrics import LatencyContext, Metrics
from codenas.report import plots
from codenas.report.compare import FinishedSearch, difference_lines, differences, distinct_names, draw_comparison, repetitions
from codenas.report.tables import FrontRow
from tests.fakes import tiny_arch


def finding(question: str, seed: int, score: float, scored_on: str = "corpus") -> FinishedSearch:
    """A search with a winner of that score, and a smaller model on its front."""
    rows = tuple(
        FrontRow(name, Design(arch=tiny_arch()), Metrics(bits_per_byte=bits, size_bytes=size, latency_ms_p50=1.0), 20, winner)
        for name, bits, size, winner in (("c000", score, 2_000_000, True), ("c001", score + 0.5, 1_000_000, False))
    )
    return FinishedSearch(f"{question}{seed}", question, scored_on, seed, rows, 50, 0, 9.0)


def test_searches_of_one_question_are_grouped_best_mean_first_and_a_seed_counts_once() -> None:
    groups = repetitions([finding("a", 0, 2.5), finding("b", 0, 2.2), finding("a", 1, 2.4), finding("b", 0, 2.9)])
    assert [[each.name for each in group] for group in groups] == [["b0"], ["a0", "a1"]]


def test_without_a_repetition_it_cannot_be_told() -> None:
    (difference,) = differences(repetitions([finding("a", 0, 2.5), finding("b", 0, 2.2)]))
    assert (difference.better, difference.worse, difference.outcome) == ("b0", "a0", "unknown")
    assert difference.gap == pytest.approx(0.3)
    (line,) = difference_lines([finding("a", 0, 2.5), finding("b", 0, 2.2)])
    assert line.startswith("b0 against a0: 0.300 bits per byte apart; significance not assessed")


def test_the_bound_is_that_of_students_t_over_the_pooled_deviation() -> None:
    """Three and two seeds, three degrees of freedom: 3.182 standard errors of the difference of the means."""
    a, b = [2.50, 2.52, 2.54], [2.20, 2.22]
    (difference,) = differences(
        repetitions([*(finding("a", i, score) for i, score in enumerate(a)), *(finding("b", i, score) for i, score in enumerate(b))])
    )
    pooled = ((2 * stdev(a) ** 2 + stdev(b) ** 2) / 3) ** 0.5
    assert difference.bound == pytest.approx(3.182446 * pooled * (1 / 3 + 1 / 2) ** 0.5)
    assert difference.outcome == "better"


def test_what_lies_within_the_deviation_of_the_seeds_is_a_tie() -> None:
    findings = [finding("a", 0, 2.50), finding("a", 1, 2.60), finding("b", 0, 2.52)]
    (difference,) = differences(repetitions(findings))
    assert difference.outcome == "tie" and difference.gap < stdev([2.5, 2.6])
    assert "not significant, a tie" in difference_lines(findings)[0]


def test_equal_scores_are_a_tie_also_where_the_seeds_agree() -> None:
    findings = [finding("a", 0, 2.5), finding("a", 1, 2.5), finding("b", 0, 2.5)]
    assert [each.outcome for each in differences(repetitions(findings))] == ["tie"]


def test_seeds_of_one_search_have_a_mean_and_a_deviation() -> None:
    (line,) = difference_lines([finding("a", 0, 2.5), finding("a", 1, 2.6)])
    assert line == "a0 + a1: one search with 2 seeds, 2.550 ± 0.071 bits per byte"


def test_scores_on_other_text_are_not_compared() -> None:
    lines = difference_lines([finding("a", 0, 2.5, "one"), finding("b", 0, 2.2, "other")])
    assert lines == ["scored on 2 different corpora or amounts of text: bits per byte compare only on the same text"]


def test_names_are_the_shortest_ends_that_differ() -> None:
    assert distinct_names([Path("/a/runs/x"), Path("/b/runs/y")]) == ["x", "y"]
    assert distinct_names([Path("/a/runs/x"), Path("/b/runs/x")]) == ["a/runs/x", "b/runs/x"]


def test_the_fronts_are_drawn_over_each_other_each_with_its_own_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    figure = plots._figure

    def remember(width: float, height: float) -> Figure:
        drawn.append(figure(width, height))
        return drawn[-1]

    monkeypatch.setattr(plots, "_figure", remember)
    draw_comparison([finding("a", 0, 2.5), finding("b", 0, 2.2)], tmp_path / "fronts.png")
    assert (tmp_path / "fronts.png").read_bytes().startswith(b"\x89PNG")
    for axes in drawn[0].axes:
        assert axes.get_legend_handles_labels()[1] == ["a0", "b0"]
        assert len({str(line.get_color()) for line in axes.lines}) == 2


def test_no_front_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without points"):
        plots.overlaid_fronts({"a": []}, tmp_path / "fronts.png")


def test_latencies_of_different_devices_are_said_not_to_compare() -> None:
    found = [finding("a", 0, 2.5), finding("b", 0, 2.2)]
    context = LatencyContext(device="H200", threads=1)
    rows = tuple(replace(row, metrics=row.metrics.model_copy(update={"latency_context": context})) for row in found[0].rows)
    lines = difference_lines([replace(found[0], rows=rows), found[1]])
    assert "latencies were measured on H200, 1 thread, float32 and an unknown device: they compare only on the same device" in lines
    assert not any("latencies" in line for line in difference_lines(found))
