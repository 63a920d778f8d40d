"""Which trials the fidelity of a rung is computed over, and what their size is."""

import math

import pytest

from codenas.arch import Design
from codenas.arch.cost import body_parameters
from codenas.metrics import Metrics
from codenas.search.candidate import Candidate, Failure, Report, Trial
from codenas.search.fidelity import Fidelity, fidelity
from tests.fakes import tiny_arch


def trial(index: int, *bits: float | None) -> Trial:
    new = Trial(candidate=Candidate(index=index, design=Design(arch=tiny_arch()), origin="random", seed=0))
    for rung, value in zip((50, 300), bits, strict=False):
        new = new.after(Report(index=index, rung=rung, steps=1, metrics=Metrics(bits_per_byte=value), seconds=0, checkpoint=""))
    return new


def test_only_trials_with_both_scores_count() -> None:
    failed = trial(9, 4.0).after(Failure(index=9, rung=300, reason="diverged"))
    trials = [trial(0, 3.0, 2.0), trial(1, 3.5, 2.5), trial(2, 3.2, 2.6), trial(3, 9.0), trial(4), trial(5, None, 1.0), failed]
    found = fidelity(trials, 50, 300)
    assert (found.low, found.high, found.trials) == (50, 300, 3)
    assert found.spearman == pytest.approx(0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_say_nothing(count: int) -> None:
    assert fidelity([trial(index, 3.0 - index, 2.0 - index) for index in range(count)], 50, 300).spearman is None


def test_size_is_that_of_the_layers_as_stored_and_what_it_explains_is_taken_out() -> None:
    """Scores that are the size and nothing else agree perfectly, and say nothing beyond it; noise on top says what noise says."""
    archs = [tiny_arch(n_layers=layers) for layers in range(1, 9)]
    noise = [0.02, -0.01, 0.03, -0.02, 0.01, -0.03, 0.02, -0.01]

    def trials(low: float, high: float) -> list[Trial]:
        found = []
        for index, arch in enumerate(archs):
            new = Trial(candidate=Candidate(index=index, design=Design(arch=arch), origin="random", seed=0))
            size = math.log(body_parameters(arch))
            for rung, share in ((50, low), (300, high)):
                bits = Metrics(bits_per_byte=10 - size / 2 + share * noise[index])
                new = new.after(Report(index=index, rung=rung, steps=1, metrics=bits, seconds=0, checkpoint=""))
            found.append(new)
        return found

    agreed, opposed = fidelity(trials(1, 1), 50, 300), fidelity(trials(1, -1), 50, 300)
    assert agreed.spearman == opposed.spearman == pytest.approx(1.0)
    assert agreed.given_size == pytest.approx(1.0) and opposed.given_size == pytest.approx(-1.0)
    assert fidelity(trials(0, 0), 50, 300).given_size is None, "rounding errors have no ranks"


def test_a_result_of_an_earlier_version_opens() -> None:
    stored = '{"low": 50, "high": 300, "trials": 4, "spearman": 0.8}'
    assert Fidelity.model_validate_json(stored) == Fidelity(low=50, high=300, trials=4, spearman=0.8)
