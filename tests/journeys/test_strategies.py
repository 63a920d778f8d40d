"""Every strategy and every scheduler from a corpus to a trained winner; repeats, storage, pruning and vocabularies among the choices."""

from pathlib import Path

import pytest

from codenas.search.strategies.registry import STRATEGIES
from tests.cli.commands import shown
from tests.fakes import tiny_corpus
from tests.journeys.steps import finish, look, search

SPACE = (
    "search.space={ base = { d_model = 16, n_layers = 1, context_len = 32 }, choices = { d_model = [16, 32], n_layers = [1, 2], "
    'norm = ["rmsnorm", "layernorm"] } }'
)
ONE = "search.objectives=[{ metric = 'bits_per_byte', weight = 1.0 }]"  # asha compares one metric


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In three vocabularies."""
    return tiny_corpus(tmp_path_factory.mktemp("corpus"), vocabularies=("char", "bpe-280")).path


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_leads_to_a_trained_winner(strategy: str, small_corpus: Path, tmp_path: Path) -> None:
    search(tmp_path, small_corpus, "--no-ray", overrides=[SPACE, f"search.strategy={strategy}", "search.budget.candidates=5"])
    assert "Held-out repositories" in finish(tmp_path)


@pytest.mark.parametrize(
    "override",
    [
        "search.space.choices.storage=['int8', 'int4']", "search.space.choices.pruning=[0.25, 0.5]",
        "search.space.choices.vocabulary=['char', 'bpe-280']", "search.budget={ repeats = 1 }", "search.trial={ score_decay = 0.5 }",
        "search.budget={ candidates = 4, promote = [3], least = [1] }", "search.budget={ rungs = [2], promote = [] }",
    ],
)  # fmt: skip
def test_what_a_search_can_be_asked_for_leads_to_a_trained_winner(override: str, small_corpus: Path, tmp_path: Path) -> None:
    search(tmp_path, small_corpus, "--no-ray", overrides=[SPACE, override])
    look(tmp_path)
    assert "Held-out repositories" in finish(tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("scheduler", ["promotion", "asha"])
def test_a_scheduler_on_ray_leads_to_a_trained_winner(scheduler: str, small_corpus: Path, tmp_path: Path) -> None:
    search(tmp_path, small_corpus, overrides=[SPACE, f"search.scheduler={scheduler}", "search.budget.candidates=4", ONE])
    look(tmp_path)
    assert "Held-out repositories" in finish(tmp_path)


def test_a_search_learns_from_an_earlier_one_and_both_are_compared(small_corpus: Path, tmp_path: Path) -> None:
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    search(earlier, small_corpus, "--no-ray", overrides=[SPACE])
    search(later, small_corpus, "--no-ray", "--warm-start", earlier, overrides=[SPACE, "search.seed=1"])
    assert "later" in shown("compare", earlier, later, "--picture", tmp_path / "both.png")
