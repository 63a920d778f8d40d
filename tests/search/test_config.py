"""What a search can be asked to do."""

import random

import pytest
from pydantic import ValidationError

from codenas.arch import SearchSpace, preset
from codenas.errors import ConfigError
from codenas.metrics import METRICS
from codenas.search.config import SearchConfig
from codenas.search.fitness import DEFAULT_OBJECTIVES
from codenas.search.strategies.frontier import Frontier
from tests.fakes import tiny_arch


def limits(config: SearchConfig) -> dict[str, float | None]:
    return {objective.metric: objective.limit for objective in config.objectives}


def test_the_defaults_are_a_search() -> None:
    plan = SearchConfig().plan(vocab_size=512)
    assert plan.space == preset("tiny") and plan.strategy == Frontier()
    assert (plan.vocab_size, plan.seed, plan.lookback, plan.objectives) == (512, 0, 4, DEFAULT_OBJECTIVES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": "huge"}, "no search space is called 'huge'; choose one of tiny"),
        ({"strategy": "magic"}, "no strategy is called 'magic'; choose one of random"),
        ({"objectives": ()}, "the weights of no objective are all zero"),
        ({"objectives": ({"metric": "params"},)}, "the weights of params are all zero"),
        ({"objectives": ({"metric": "loss", "weight": 1},)}, "no metric 'loss'"),
        ({"budget": {"rungs": (300, 50)}}, r"rungs \[300, 50\] must be positive and rise"),
        ({"budget": {"least": (2, 2)}}, r"least \[2, 2\] must bound each of the promotions \[6\] from below, or none"),
        ({"budget": {"least": (0,)}}, r"least \[0\] must be positive"),
        ({"budget": {"least": (7,)}}, r"least \[7\] is above the promotions \[6\], which bound it; lower it"),
        ({"budget": {"rungs": (1, 2, 4), "promote": (6, 6), "least": (2, 3)}}, r"least \[2, 3\] must be positive and not grow"),
        ({"budget": {"least": (2,)}, "objectives": ({"metric": "params", "weight": 1},)}, "adaptive promotion forecasts bits_per_byte"),
        ({"lookback": -1}, "greater than or equal to 0"),
        ({"workers": 4}, "Extra inputs"),
        ({"space": {"choices": {"depth": [1]}}}, "unknown field 'depth'"),
    ],
)
def test_what_does_not_exist_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        SearchConfig.model_validate(values)


def test_a_space_of_ones_own() -> None:
    space = SearchSpace(base=tiny_arch(), choices={"n_layers": (1, 2)})
    config = SearchConfig(space=space)
    assert config.search_space() == space
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config


def test_limits_join_the_objectives_that_are_there() -> None:
    config = SearchConfig().with_limits({"size_bytes": 4e6, "latency_ms_p50": None, "params": 1e6})
    assert limits(config) == {"bits_per_byte": None, "size_bytes": 4e6, "latency_ms_p50": None, "params": 1e6}
    assert [objective.weight for objective in config.objectives] == [0.5, 0.3, 0.2, 0.0]
    assert [objective.metric for objective in config.objectives[:3]] == [objective.metric for objective in DEFAULT_OBJECTIVES]


def test_no_limit_leaves_a_limit_as_it_is() -> None:
    config = SearchConfig().with_limits({"size_bytes": 4e6})
    assert config.with_limits({"size_bytes": None}) == config
    assert limits(config.with_limits({"size_bytes": 5e6}))["size_bytes"] == 5e6
    assert SearchConfig().with_limits({}) == SearchConfig()


def test_a_limit_on_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValidationError, match="no metric 'speed'"):
        SearchConfig().with_limits({"speed": 1.0})


def test_the_search_of_a_job_is_read_without_how_its_trials_run() -> None:
    config = SearchConfig(seed=3)
    assert SearchConfig.of_job(config.model_dump_json()[:-1] + ', "trial": {"cpus": 1}}') == config


@pytest.mark.parametrize("job", ["", "[]", "3", '{"seed": "x"}', '{"space": "huge"}'])
def test_a_job_that_is_none_is_one_line(job: str) -> None:
    with pytest.raises(ConfigError, match="the job of a search cannot be read"):
        SearchConfig.of_job(job)


def test_given_weights_alone_decide_and_keep_limits_and_targets() -> None:
    config = SearchConfig().with_objectives(limits={"latency_ms_p50": 9.0}, targets={"latency_ms_p50": 5.0}, weights={"bits_per_byte": 1.0})
    assert [(each.metric, each.weight, each.limit, each.target) for each in config.objectives] == [
        ("bits_per_byte", 1.0, None, None),
        ("size_bytes", 0.0, None, None),
        ("latency_ms_p50", 0.0, 9.0, 5.0),
    ]
    assert SearchConfig().with_objectives() == SearchConfig()


def test_who_joins_has_its_usual_direction() -> None:
    joined = SearchConfig().with_objectives(weights={"tokens_per_second": 0.5, "params": 0.5}).objectives
    assert [(each.metric, each.direction) for each in joined if each.weight] == [("tokens_per_second", "maximize"), ("params", "minimize")]


def test_limit_and_target_change_together() -> None:
    config = SearchConfig().with_objectives(limits={"params": 10.0}, targets={"params": 6.0})
    assert config.with_objectives(limits={"params": 4.0}, targets={"params": 3.0}).objectives[-1].target == 3.0
    with pytest.raises(ValidationError, match="the target of params, 6, is outside its limit, at most 4"):
        config.with_objectives(limits={"params": 4.0}, targets={"params": 6.0})


def test_a_target_that_a_new_limit_excludes_moves_to_the_limit() -> None:
    config = SearchConfig().with_objectives(
        limits={"params": 10.0, "tokens_per_second": 1.0}, targets={"params": 6.0, "tokens_per_second": 5.0}
    )
    tighter = {each.metric: each for each in config.with_limits({"params": 4.0, "tokens_per_second": 7.0}).objectives}
    assert (tighter["params"].limit, tighter["params"].target) == (4.0, 4.0)
    assert (tighter["tokens_per_second"].limit, tighter["tokens_per_second"].target) == (7.0, 7.0)
    looser = {each.metric: each for each in config.with_limits({"params": 8.0}).objectives}
    assert (looser["params"].limit, looser["params"].target) == (8.0, 6.0)


def test_weights_that_decide_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="the weights of bits_per_byte, size_bytes, latency_ms_p50 are all zero"):
        SearchConfig().with_objectives(weights={"size_bytes": 0.0})


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_default_direction_is_that_of_the_metric_in_a_job_and_on_the_command_line(metric: str) -> None:
    """`tokens_per_second` in a job without a direction was minimised, and with `--weights` maximised."""
    in_a_job = SearchConfig.model_validate({"objectives": [{"metric": metric, "weight": 1.0}]}).objectives
    by_option = SearchConfig().with_objectives(weights={metric: 1.0}).objectives
    assert in_a_job[0].direction == METRICS[metric].direction
    assert [each.direction for each in by_option if each.metric == metric] == [METRICS[metric].direction]


def test_a_direction_that_a_job_names_stands() -> None:
    stored = '{"objectives": [{"metric": "tokens_per_second", "direction": "minimize", "weight": 1.0, "limit": null, "target": null}]}'
    config = SearchConfig.model_validate_json(stored)
    assert config.objectives[0].direction == "minimize"
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config


def test_a_preset_is_refined() -> None:
    refined = SearchConfig.model_validate({"space": "tiny", "choices": {"d_model": [128, 256], "storage": ["int8"], "context_len": [64]}})
    space = refined.search_space()
    assert space.choices == {**preset("tiny").choices, "d_model": (128, 256), "storage": ("int8",), "context_len": (64,)}
    assert space.context_lens == (64,) and refined.plan(vocab_size=512).space == space
    assert {space.sample(random.Random(seed)).storage for seed in range(5)} == {"int8"}
    assert SearchConfig.model_validate_json(refined.model_dump_json()) == refined
    assert refined.space_name == "tiny, refined in d_model, storage, context_len"


def test_a_pattern_can_be_refined() -> None:
    refined = SearchConfig.model_validate_json('{"space": "small", "choices": {"pattern": [["mamba2"], ["mamba2", "attention"]]}}')
    assert refined.search_space().choices["pattern"] == (("mamba2",), ("mamba2", "attention"))


@pytest.mark.parametrize(
    ("space", "choices", "message"),
    [
        ("tiny", {"d_modl": [128]}, "choices of the preset tiny: unknown field 'd_modl'"),
        ("tiny", {"d_model": []}, "choices of the preset tiny: d_model: no choice is given"),
        ("tiny", {"norm": ["batchnorm"]}, "choices of the preset tiny: norm: 'batchnorm' is no choice"),
        ("tiny", {"pattern": [["mamba2"]]}, "names a mixer that is unknown here; known are \\['attention'\\]"),
        (
            {"choices": {"n_layers": [1]}},
            {"d_model": [128]},
            "choices refine a preset .*; those of a space of one's own stand in space.choices",
        ),
    ],
)
def test_choices_that_refine_nothing_are_refused(space: object, choices: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig.model_validate({"space": space, "choices": choices})


def test_a_choice_that_is_no_list_is_answered_with_one() -> None:
    with pytest.raises(ValidationError, match=r"d_model = 128 is no list of choices; write d_model = \[128\]"):
        SearchConfig.model_validate({"choices": {"d_model": 128}})
