"""The warm start of a search: prior trials inside its own space and limits, the best of each run first."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from codenas.arch import Design, SearchSpace
from codenas.errors import RunError
from codenas.metrics import LatencyContext, Metrics
from codenas.search.candidate import Candidate, Failure, Refusal, Report, Trial
from codenas.search.fitness import Objective
from codenas.search.result import SearchFolder
from codenas.search.warm_start import PriorTrial, WarmStart, collect_prior_trials
from tests.fakes import tiny_arch

SPACE = SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16, 24, 32)})
OBJECTIVES = (Objective(metric="bits_per_byte", weight=1.0), Objective(metric="size_bytes", weight=1.0))


def design(width: int) -> Design:
    return Design(arch=tiny_arch(d_model=width))


def trial(index: int, width: int, scores: Mapping[int, float]) -> Trial:
    """A trial with bits per byte by rung; it takes as many bytes as it is wide."""
    made = Trial(candidate=Candidate(index=index, design=design(width), origin="random", seed=0))
    for rung, bits in scores.items():
        metrics = Metrics(bits_per_byte=bits, size_bytes=width)
        made = made.after(Report(index=index, rung=rung, steps=rung, metrics=metrics, seconds=1.0, checkpoint="x"))
    return made


RUN = (trial(0, 8, {5: 3.0, 20: 2.5}), trial(1, 16, {5: 2.9, 20: 2.6}), trial(2, 24, {5: 2.8, 20: 2.0}), trial(3, 32, {5: 3.1}))


def test_trials_have_their_first_rung_scores_and_the_front_of_the_last_rung_is_proposed() -> None:
    warm = collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 9)
    assert {prior.candidate: prior.metrics and prior.metrics.bits_per_byte for prior in warm.prior_trials} == {
        "c000": 3.0,
        "c001": 2.9,
        "c002": 2.8,
        "c003": 3.1,
    }
    assert warm.proposed == (design(24), design(8)) and warm.skipped == 0, "the third is beaten, the fourth was not promoted"
    assert [prior.candidate for prior in warm.prior_trials[-2:]] == ["c000", "c002"], "strategies with ageing keep the best for longest"


def test_no_more_are_proposed_than_allowed_and_runs_take_turns() -> None:
    other = (trial(0, 16, {5: 2.0, 20: 1.0}), trial(1, 8, {5: 2.5, 20: 1.5}))
    assert collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 1).proposed == (design(24),)
    assert collect_prior_trials({"a": RUN, "b": other}, 5, SPACE, OBJECTIVES, 2).proposed == (design(24), design(16))
    assert collect_prior_trials({"a": RUN, "b": other}, 5, SPACE, OBJECTIVES, 9).proposed == (design(24), design(16), design(8))
    assert collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 0).proposed == ()


def test_an_unfinished_search_has_its_front_where_it_got_to() -> None:
    begun = (trial(0, 8, {5: 3.0}), trial(1, 16, {5: 2.9}), trial(2, 24, {}))
    warm = collect_prior_trials({"a": begun}, 5, SPACE, OBJECTIVES, 9)
    assert warm.proposed == (design(16), design(8)) and len(warm.prior_trials) == 2
    assert collect_prior_trials({"a": ()}, 5, SPACE, OBJECTIVES, 9) == WarmStart()


def test_what_is_outside_the_space_is_skipped_and_counted() -> None:
    narrow = SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16)})
    warm = collect_prior_trials({"a": RUN}, 5, narrow, OBJECTIVES, 9)
    assert warm.skipped == 2 and {prior.design for prior in warm.prior_trials} == {design(8), design(16)}
    assert warm.proposed == (design(8),), "of those that are left one beats the other"


def test_failed_trials_have_no_costs_and_refused_ones_are_left_out() -> None:
    failed = trial(0, 8, {}).after(Failure(index=0, rung=5, reason="diverged"))
    refused = trial(1, 16, {}).after(Refusal(index=1, reason="too slow", metrics=Metrics(latency_ms_p50=9.0)))
    warm = collect_prior_trials({"a": (failed, refused)}, 5, SPACE, OBJECTIVES, 9)
    assert [(each.index, each.point, each.costs) for each in warm.observations(OBJECTIVES)] == [(-1, design(8), None)]
    assert warm.proposed == () and warm.skipped == 0


def test_prior_trials_have_negative_indices_and_the_costs_of_this_search() -> None:
    warm = collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 9)
    assert [each.index for each in warm.observations(OBJECTIVES)] == [-4, -3, -2, -1]
    only_bits = (OBJECTIVES[0], Objective(metric="size_bytes", limit=24))
    shown = {each.point: each.costs for each in warm.observations(only_bits)}
    assert shown == {design(8): (3.0,), design(16): (2.9,), design(24): (2.8,), design(32): None}, "outside this search's limit"
    assert all(each.costs is None for each in warm.observations((Objective(metric="params", weight=1.0),))), (
        "a metric that was not measured has no cost"
    )


def test_a_limit_on_quality_is_for_the_end_and_hides_no_prior_trial() -> None:
    strict = (Objective(metric="bits_per_byte", weight=1.0, limit=2.2),)
    warm = collect_prior_trials({"a": RUN}, 5, SPACE, strict, 9)
    assert warm.proposed == (design(24),) and all(each.costs is not None for each in warm.observations(strict))


def test_a_copy_is_read_again_and_one_that_was_altered_is_named(tmp_path: Path) -> None:
    folder, warm = SearchFolder(tmp_path / "search"), collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 9)
    folder.claim("job", "corpus", warm_start=warm)
    assert folder.warm_start() == warm
    folder.claim("job", "corpus", warm_start=WarmStart(prior_trials=(PriorTrial(run="b", candidate="c000", design=design(8)),)))
    assert folder.warm_start() == warm, "what a search began with stays"
    copy = tmp_path / "search" / "warm_start.json"
    for damage in (lambda: copy.write_text("{}"), copy.unlink):
        damage()
        with pytest.raises(
            RunError, match=r"warm_start.json is not the warm start of this search; restore it, or remove .*search to search"
        ):
            folder.warm_start()


def test_a_copy_of_an_earlier_version_is_read() -> None:
    warm = collect_prior_trials({"a": RUN}, 5, SPACE, OBJECTIVES, 9)
    former = warm.model_dump_json().replace('"prior_trials"', '"lessons"')
    assert '"lessons"' in former and WarmStart.model_validate_json(former) == warm


def test_a_search_without_a_warm_start_writes_no_copy(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    folder.claim("job", "corpus", warm_start=WarmStart())
    assert folder.warm_start() == WarmStart() and not (tmp_path / "warm_start.json").exists()


HERE, ELSEWHERE = (LatencyContext(device=name, threads=1) for name in ("NVIDIA H100", "NVIDIA A100"))


@pytest.mark.parametrize(
    ("weight", "own", "costs"),
    [
        (1.0, HERE, [(3.0, 5.0), None]),
        (1.0, ELSEWHERE, [None]),  # only what failed, wherever it did
        (0.0, HERE, [None, None]),  # outside the limit
        (0.0, ELSEWHERE, [(3.0,), None]),  # the limit is not for another device
    ],
)
def test_latencies_count_only_where_this_search_measures_its_own(
    weight: float, own: LatencyContext, costs: list[tuple[float, ...] | None]
) -> None:
    limit = None if weight else 4.0
    objectives = (Objective(metric="bits_per_byte", weight=1.0), Objective(metric="latency_ms_p50", weight=weight, limit=limit))
    measured = Metrics(bits_per_byte=3.0, latency_ms_p50=5.0, latency_ms_p95=6.0, latency_context=HERE)
    prior = (
        PriorTrial(run="a", candidate="c000", design=design(8), metrics=measured),
        PriorTrial(run="a", candidate="c001", design=design(16)),
    )
    shown = WarmStart(prior_trials=prior).comparable([own], objectives).observations(objectives)
    assert [each.costs for each in shown] == costs
