"""The fidelity of rungs in lines of text."""

from codenas.report.fidelity import correlation, fidelity_lines
from codenas.search.fidelity import Fidelity


def test_a_line_has_the_plain_correlation_and_the_one_with_size_taken_out() -> None:
    whole = Fidelity(low=50, high=300, trials=12, spearman=0.306, interval=(0.2, 0.41), given_size=-0.1, given_size_interval=(-0.02, 0.21))
    assert fidelity_lines([whole]) == [
        "rank correlation of 50 with 300 steps over 12 trials: +0.31 (95 %: +0.20 to +0.41); size-adjusted -0.10 (95 %: -0.02 to +0.21)"
    ]


def test_what_is_not_defined_is_unknown() -> None:
    few = Fidelity(low=50, high=300, trials=4, spearman=1.0)
    assert fidelity_lines([few])[0].endswith("over 4 trials: +1.00 (no interval); size-adjusted unknown")
    assert correlation(None, None) == "unknown"


def test_one_trial_is_no_trials() -> None:
    assert "over 1 trial: unknown" in fidelity_lines([Fidelity(low=50, high=300, trials=1, spearman=None)])[0]
