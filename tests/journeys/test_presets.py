"""Every preset from a search to a completion over HTTP; test_strategies.py and test_jobs.py search on Ray."""

from pathlib import Path

import pytest

from codenas.arch.presets import PRESETS
from tests.journeys.steps import finish, look, search, served_completion

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_leads_from_a_search_to_a_served_completion(
    preset: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / preset
    search(run, corpus, "--max-mb", "8", "--no-ray", overrides=[f"search.space={preset}", "search.strategy=random"])
    look(run)
    finish(run)
    assert served_completion(run, monkeypatch).removesuffix("\n"), "the completion is empty"
