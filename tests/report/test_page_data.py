"""The figures of a search's page: what stands in them is what the history says, and what is computed says how."""

import tomllib
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from codenas.report.importance import expected_best, importances
from codenas.report.page_data import search_figures
from codenas.report.reproduce import commands, job_file
from codenas.search.candidate import Report
from codenas.search.config import SearchConfig
from tests.report.searches import BUDGET, metrics_of, searched


def test_steps_and_the_best_so_far_follow_the_history() -> None:
    found = searched(failed=0.05)
    figures, step, best = search_figures(found), 0, dict[int, float]()
    rungs = {(each.id, rung.rung): rung for each in figures.candidates for rung in each.rungs}
    for event in found.events:
        if isinstance(event, Report):
            step += event.steps
            bits = event.metrics.bits_per_byte
            assert bits is not None
            best[event.rung] = min(bits, best.get(event.rung, bits))
            rung = rungs.pop((f"c{event.index:03d}", event.rung))
            assert (rung.step, rung.best, rung.metrics) == (step, best[event.rung], event.metrics)
    assert not rungs and figures.effort.steps == step


def test_a_report_that_is_in_the_history_twice_counts_once() -> None:
    found = searched()
    events = [*found.events, found.events[-1]]
    assert search_figures(replace(found, events=events)) == search_figures(found)


def test_the_leader_is_the_winner_or_the_best_so_far_of_the_highest_rung() -> None:
    found = searched()
    finished, begun = search_figures(found), search_figures(searched(until=30))
    assert found.result is not None and finished.best is not None and begun.best is not None
    assert finished.finished and finished.best.id == f"c{found.result.winner:03d}"
    highest = max(rung.rung for each in begun.candidates for rung in each.rungs)
    scores = {each.id: rung.metrics.bits_per_byte or 0.0 for each in begun.candidates for rung in each.rungs if rung.rung == highest}
    assert not begun.finished and begun.best.rung == highest and begun.best.id == min(scores, key=lambda who: scores[who])


def test_baselines_say_who_they_are_and_what_is_computed() -> None:
    found = searched()
    baselines = search_figures(found).baselines
    assert baselines is not None and baselines.rung == BUDGET.rungs[0]
    every, drawn, front, blind = baselines.rows
    scores = [metrics_of(found, index, 10).bits_per_byte or 0.0 for index in range(12)]
    assert (every.candidates, every.bits_per_byte, every.measured) == (12, min(scores), True)
    random = [score for score, trial in zip(scores, found.trials, strict=True) if trial.candidate.origin == "random"]
    assert (drawn.candidates, drawn.bits_per_byte) == (len(random), min(random)) and 0 < len(random) < 12
    assert front.candidates == blind.candidates and not blind.measured and blind.best is None
    assert every.bits_per_byte <= blind.bits_per_byte <= fmean(scores)
    assert (
        baselines.search[-1] == min(scores) and baselines.random[-1] == pytest.approx(min(random)) and len(baselines.random) == len(random)
    )


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_ways_to_draw(draws: int) -> None:
    scores = [2.5, 1.0, 3.0, 1.0, 2.0]
    assert expected_best(scores, draws) == pytest.approx(fmean(min(each) for each in combinations(scores, draws)))


def test_a_field_that_decides_explains_everything_and_one_that_does_not_stays_below_chance() -> None:
    rng = np.random.default_rng(5)
    rows = [{"width": str(i % 3), "norm": str(rng.integers(2)), "same": "x", "own": str(i)} for i in range(30)]
    scores = [2.0 + int(row["width"]) + 0.01 * float(rng.normal()) for row in rows]
    first, second = importances(rows, scores)
    assert (first.field, second.field) == ("width", "norm"), "a field that all share or nobody shares says nothing"
    assert first.share > 0.99 > first.chance and second.share < second.chance
    assert importances(rows, scores) == (first, second)


def test_the_adjusted_share_is_zero_on_average_without_influence() -> None:
    rng = np.random.default_rng(1)
    rows = [{"field": str(i % 4)} for i in range(12)]
    shares = [importances(rows, rng.normal(size=12).tolist())[0].share for _ in range(300)]
    assert abs(fmean(shares)) < 0.03


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 12])
def test_few_or_equal_scores_say_nothing(scores: list[float]) -> None:
    assert importances([{"a": str(i % 2)} for i in range(len(scores))], scores) == ()


def test_reasons_that_differ_in_figures_alone_are_one() -> None:
    figures = search_figures(searched(refused=0.4, failed=0.2))
    lost = {(each.kind, each.reason): len(each.candidates) for each in figures.reasons}
    assert lost == {
        ("refused", "latency_ms_p50 9 is outside its limit"): figures.effort.refused,
        ("failed", "diverged"): figures.effort.failed,
    }


def test_a_correlation_over_few_candidates_has_no_figure() -> None:
    low, middle = search_figures(searched()).correlations
    assert (low.low, low.high, low.trials, middle.low) == (10, 90, 4, 30)
    assert low.spearman is not None
    assert low.interval is not None or abs(low.spearman) == 1
    few = search_figures(searched(until=30)).correlations
    assert all(each.spearman is None and each.interval is None for each in few if each.trials < 3)


def test_a_job_is_written_as_toml() -> None:
    assert (
        job_file({"space": {"choices": {"vocabulary": [None, "char"]}}})
        == '[search]\nspace = { choices = { vocabulary = ["none", "char"] } }\n'
    )
    refined = {"space": "tiny", "choices": {"d_model": [128, 256], "feedforward.multiplier": [2.0]}}
    assert job_file(refined) == '[search]\nspace = "tiny"\nchoices = { d_model = [128, 256], "feedforward.multiplier" = [2.0] }\n'
    assert SearchConfig.model_validate(tomllib.loads(job_file(refined))["search"]) == SearchConfig.model_validate(refined)
    assert job_file({"space": "tiny", "choices": {}}) == '[search]\nspace = "tiny"\n'
    assert job_file({"seed": 1, "x": None, "space": {"a.b": 'é"\\'}}) == '[search]\nseed = 1\nspace = { "a.b" = "é\\"\\\\" }\n'


def test_commands_are_safe_to_paste() -> None:
    lines = [line for _, line in commands("my runs/$(x)", None, 300, finished=True)]
    assert lines[0] == "codenas search --corpus CORPUS --run 'my runs/$(x)-again' --job job.toml"
    assert lines[1] == "codenas train --run 'my runs/$(x)' --steps 3000"
    assert commands("r", "c", 300, finished=False)[0][1] == "codenas search --run r --job job.toml"
