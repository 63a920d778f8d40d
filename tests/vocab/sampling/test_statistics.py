"""Statistics over many draws: the same for any split of the work, true to the draws, and honest about those that failed."""

import itertools
import logging
from collections import Counter

import numpy as np
import pytest

from codenas.errors import CorpusError
from codenas.vocab.sampling.details import language_figures, sample_details
from codenas.vocab.sampling.draws import TABLES, SamplingSettings, TextStream, Window, draw_parameters
from codenas.vocab.sampling.pieces import FORCED, Pieces
from codenas.vocab.sampling.statistics import Run, SampleStats, language_weights, plan, require_draws, sample
from tests.vocab.texts import code_like

SETTINGS = SamplingSettings(draws=24, min_size=420, max_size=700, size_std=60, texts=64)
TEXTS = {"Python": code_like(1, 150), "Go": code_like(2, 90)}
WEIGHTS = {"Python": 1.0, "Go": 0.5}


def collected(settings: SamplingSettings, workers: int) -> SampleStats:
    stats = SampleStats()
    for run in plan(settings, WEIGHTS, workers):
        for part in sample(run, TEXTS[run.language], settings):
            stats.add(part)
    return stats


@pytest.fixture(scope="module")
def stats() -> SampleStats:
    return collected(SETTINGS, workers=1)


@pytest.mark.parametrize("workers", [2, 5, 24, 100])
def test_any_number_of_workers_gives_the_same(stats: SampleStats, workers: int) -> None:
    other = collected(SETTINGS, workers)
    assert sample_details(other, SETTINGS, "") == sample_details(stats, SETTINGS, "")
    assert list(other.counts().items()) == list(stats.counts().items())


def test_another_seed_gives_something_else(stats: SampleStats) -> None:
    assert collected(SETTINGS.model_copy(update={"seed": 1}), 1).counts() != stats.counts()


def test_the_counts_are_those_of_the_draws_made_one_by_one() -> None:
    settings = SETTINGS.model_copy(update={"noise_mean": 1e-3, "noise_std": 1.0, "max_size": 5000, "mean_size": 5000.0})
    found, logs = Counter[str](), dict[str, list[float]]()
    for number in range(8):
        window, stream = Window(Pieces()), TextStream(TEXTS["Go"], "Go", settings)
        for batch in range(number + 1, number + 1 + TABLES):
            window.push(stream.batch(batch))
        drawn = window.draw(draw_parameters(settings, "Go", number))
        for index, share in zip(drawn.ids, drawn.shares, strict=True):
            found[window.pieces.names[index]] += 1
            logs.setdefault(window.pieces.names[index], []).extend([float(np.log(share))] if share > 0 else [])
    stats = SampleStats()
    for part in itertools.chain(sample(Run("Go", 0, 3), TEXTS["Go"], settings), sample(Run("Go", 3, 8), TEXTS["Go"], settings)):
        stats.add(part)
    assert stats.counts() == found
    tokens = sample_details(stats, settings, "").tokens["Go"]
    assert {token: share for token, (share, _) in tokens.items()} == {token: count / 8 for token, count in found.items()}
    for token, (_, mean) in tokens.items():
        assert mean == (pytest.approx(np.mean(logs[token]), abs=1e-5) if logs[token] else None)
    assert any(not each for each in logs.values())  # some are held only with a share below zero


def test_sums_agree(stats: SampleStats) -> None:
    occurrences = sum(part.occurrences for part in stats.languages.values())
    assert stats.draws == 24 and stats.failed == 0 and set(stats.languages) == {"Python", "Go"}
    assert sum(stats.counts().values()) == occurrences - 24 * len(FORCED)
    assert not set(stats.counts()) & set(FORCED)
    assert list(stats.counts().values()) == sorted(stats.counts().values(), reverse=True)
    for language, figures in language_figures(stats).items():
        part, tokens = stats.languages[language], sample_details(stats, SETTINGS, "").tokens[language]
        assert figures.unique == len(tokens) and figures.always == sum(share == 1 for share, _ in tokens.values())
        assert figures.often == sum(share >= 0.5 for share, _ in tokens.values())
        assert sum(figures.lengths.values()) == part.occurrences - figures.draws * len(FORCED)
        mean = sum(share * len(token) for token, (share, _) in tokens.items()) / sum(share for share, _ in tokens.values())
        assert figures.mean_bytes == pytest.approx(mean)
        assert figures.coverage is not None and 0.1 < figures.coverage < 1
        assert figures.mean_size is not None and 420 <= figures.mean_size <= 700


def test_words_that_are_one_piece_are_covered_and_no_others() -> None:
    settings = SamplingSettings(draws=1, min_size=395, max_size=395, texts=16, noise_mean=0)
    stats = SampleStats()
    for part in sample(Run("x", 0, 1), ["abc abc z" + "y" * 20], settings):  # " abc", " abc", " zyyyy..": too long
        stats.add(part)
    assert (stats.languages["x"].text_bytes, stats.languages["x"].covered_bytes) == (30, 0)
    stats = SampleStats()
    for part in sample(Run("x", 0, 1), ["abc abc " + " " * 16], settings.model_copy(update={"max_size": 394, "min_size": 394})):
        stats.add(part)
    assert (stats.languages["x"].text_bytes, stats.languages["x"].covered_bytes) == (25, 8)  # of 17 blanks there is no piece


def test_draws_that_fail_are_counted_and_do_not_divide_the_average() -> None:
    few = [text[:40] for text in TEXTS["Go"]]  # some 1,500 pieces in a window
    settings = SETTINGS.model_copy(update={"mean_size": 1700.0, "size_std": 800.0, "max_size": 5000})
    stats = SampleStats()
    for part in sample(Run("Go", 0, 30), few, settings):
        stats.add(part)
    assert 5 < stats.failed < 25 and stats.draws + stats.failed == 30
    drawn = sorted(draw_parameters(settings, "Go", number).size for number in range(30))[: stats.draws]
    assert language_figures(stats)["Go"].mean_size == pytest.approx(sum(drawn) / stats.draws, rel=0.05)
    assert sum(stats.counts().values()) == stats.languages["Go"].occurrences - stats.draws * len(FORCED)
    assert max(stats.counts().values()) <= stats.draws
    require_draws(stats)


def test_where_all_draws_fail_the_way_out_is_said() -> None:
    stats, settings = SampleStats(), SamplingSettings(draws=3, texts=16)
    for part in sample(Run("Go", 0, 3), ["return x"], settings):
        stats.add(part)
    with pytest.raises(CorpusError, match=r"^all 3 draws failed: the texts of a window have at most \d+ pieces to choose from") as raised:
        require_draws(stats)
    assert f"lower the sizes to {stats.languages['Go'].most + len(FORCED)} " in str(raised.value)
    assert stats.languages["Go"].most == 9  # "Ġr" to "Ġreturn", "ur", "urn", "Ġx"


def test_runs_hold_every_draw_once_and_are_bounded() -> None:
    settings = SamplingSettings(draws=3000)
    runs = plan(settings, {"b": 1.0, "a": 2.0, "never": 1e-9}, workers=2)
    held = [(run.language, number) for run in runs for number in range(run.start, run.stop)]
    counts = Counter(language for language, _ in held)
    assert sorted(held) == sorted((language, number) for language in "ab" for number in range(counts[language]))
    assert counts.total() == 3000 and abs(counts["a"] - 2000) < 100
    assert max(run.stop - run.start for run in runs) <= 512
    assert plan(settings.model_copy(update={"draws": 10}), {"a": 1.0}, workers=2) == [Run("a", 0, 5), Run("a", 5, 10)]


def test_languages_weigh_by_their_share_unless_weights_are_given(caplog: pytest.LogCaptureFixture) -> None:
    documents = {"Python": 3000, "Go": 1000, "Tcl": 5}
    with caplog.at_level(logging.WARNING, "codenas"):
        weights = language_weights(documents, None, 64)
    assert weights == pytest.approx({"Python": (3000 / 4005) ** 0.3, "Go": (1000 / 4005) ** 0.3})
    assert caplog.messages == ["left out, with fewer than the 64 texts of a window: 5 of Tcl"]
    assert language_weights(documents, {"Go": 2.0}, 64) == {"Go": 2.0}


@pytest.mark.parametrize(
    ("documents", "given", "message"),
    [
        ({"Go": 100, "C": 40}, None, "a window takes 2,048 texts and the source has 100 of Go, 40 of C; .* lower --texts to 96"),
        ({"Go": 100, "C": 40}, {"C": 1.0, "Go": 1.0}, "100 of Go, 40 of C; give a source with more documents, or lower --texts to 32"),
        ({"Go": 5000}, {"C": 1.0}, "has 0 of C; give a source with more documents$"),
        ({str(n): n for n in range(1, 9)}, None, "has 8 of 8, 7 of 7, 6 of 6, 5 of 5, 4 of 4 and 3 other languages; .* documents$"),
    ],
)
def test_too_few_documents_are_refused(documents: dict[str, int], given: dict[str, float] | None, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        language_weights(documents, given, 2048)
