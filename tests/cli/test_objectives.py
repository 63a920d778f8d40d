"""What a search is to find, as options say it."""

import pytest

from codenas.cli.objectives import with_objectives
from codenas.experiment.jobs import SearchJob
from tests.cli.commands import codenas


def test_limits_targets_and_weights_reach_the_objectives() -> None:
    job = with_objectives(SearchJob(), 50, 10, "bits_per_byte=0.7, latency_ms_p50=0.3", "latency_ms_p50=5")
    assert [(each.metric, each.weight, each.limit, each.target) for each in job.objectives] == [
        ("bits_per_byte", 0.7, None, None),
        ("size_bytes", 0.0, 50e6, None),
        ("latency_ms_p50", 0.3, 10.0, 5.0),
    ]


def test_without_options_the_job_is_as_it_was() -> None:
    assert with_objectives(SearchJob(), None, None) == SearchJob()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "speed=1"), r"--weights 'speed=1': there is no metric 'speed'; choose among bits_per_byte, params"),
        (("--weights", ""), "there is no metric ''; choose among"),
        (
            ("--weights", "bits_per_byte"),
            "--weights 'bits_per_byte' has no number; write METRIC=NUMBER, such as --weights",
        ),
        (
            ("--targets", "latency_ms_p50"),
            "--targets 'latency_ms_p50' has no number; write METRIC=NUMBER, such as --targets",
        ),
        (("--weights", "bits_per_byte="), "--weights bits_per_byte=: '' is no number; write such as"),
        (("--weights", "bits_per_byte=half"), "'half' is no number"),
        (("--weights", "bits_per_byte=-1"), "--weights bits_per_byte=-1 must be 0 or more, and finite"),
        (("--weights", "bits_per_byte=nan"), "bits_per_byte=nan must be 0 or more, and finite"),
        (("--weights", "bits_per_byte=inf"), "bits_per_byte=inf must be 0 or more, and finite"),
        (("--weights", "bits_per_byte=0"), "the weights of bits_per_byte, size_bytes, latency_ms_p50 are all zero"),
        (("--weights", "params=1,params=2"), "--weights names params twice; give it one number"),
        (
            ("--targets", "latency_ms_p50=5", "--max-ms", "4"),
            "the target of latency_ms_p50, 5 ms per token, is outside its limit, at most 4 ms per token",
        ),
        (("--targets", "latency_ms_p50=fast"), "'fast' is no number; write such as --targets latency_ms_p50=5"),
        (("--max-ms", "nan"), "--max-ms nan must be a number above 0"),
    ],
)
def test_a_bad_value_is_one_line(options: tuple[str, ...], message: str) -> None:
    done = codenas("search", *options)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert message in done.stderr
