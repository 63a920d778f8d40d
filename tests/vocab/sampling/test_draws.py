"""One draw, proven equal to the algorithm written down word by word; the parameters; the stream of texts."""

import itertools
import math
import re
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import pre_tokenizers

from codenas.vocab.sampling.draws import (
    SPAN,
    TABLES,
    DrawParameters,
    SamplingSettings,
    TextStream,
    TooFewPieces,
    Window,
    draw_parameters,
    normals,
    scramble,
)
from codenas.vocab.sampling.pieces import FORCED, Pieces, fingerprint
from tests.vocab.texts import code_like

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
SMALL = SamplingSettings(min_size=400, max_size=700, texts=64)


class Literal:
    """Algorithm 1 of Minixhofer et al. 2024, step by step, with dictionaries and a full sort."""

    def __init__(self) -> None:
        self.tables: deque[Counter[str]] = deque()

    def push(self, texts: Sequence[str]) -> None:
        table: Counter[str] = Counter()
        for text in texts:
            whole = " " + text
            for word, (first, last) in BYTE_LEVEL.pre_tokenize_str(whole):
                characters = whole[first:last]
                for character in range(0, len(characters), 4):
                    start = len(characters[:character].encode())
                    for length in range(1, 16):
                        if start + length <= len(word):
                            piece = word[start : start + length]
                            table[piece] += len(piece.encode())
        self.tables.append(table)
        if len(self.tables) > 16:
            self.tables.popleft()

    def draw(self, parameters: DrawParameters) -> dict[str, float]:
        scores: Counter[str] = Counter()
        for table in self.tables:
            scores.update(table)
        total = sum(scores.values())
        bits = scramble(np.array([fingerprint(piece) for piece in scores], np.uint64), parameters.key)
        log_scores = {}
        for (piece, score), noise in zip(scores.items(), normals(bits).tolist(), strict=True):
            q = score / total + parameters.sigma * noise
            log_scores[piece] = math.log(q) if q > 0 else -100_000.0
        order = dict(zip(scores, bits.tolist(), strict=True))
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = dict.fromkeys(letters, math.log(min(scores.values()) / total))
        blanks = ("Ġ", "Ċ", "ĉ")
        vocabulary |= {second + first * count: 0.0 for first in blanks for count in range(1, 16) for second in blanks}
        for piece in sorted(scores, key=lambda piece: (-log_scores[piece], order[piece])):
            if len(vocabulary) == parameters.size:
                break
            if len(piece) > 1 and sum(letter in blanks for letter in piece) < 2:
                vocabulary[piece] = log_scores[piece]
        return vocabulary


def unigram(window: Window, parameters: DrawParameters) -> dict[str, float]:
    """The whole vocabulary that a window draws."""
    drawn, names = window.draw(parameters), window.pieces.names
    vocabulary = dict.fromkeys(FORCED[:256], drawn.floor) | dict.fromkeys(FORCED[256:], 0.0)
    return vocabulary | {names[index]: score for index, score in zip(drawn.ids, drawn.log_scores.tolist(), strict=True)}


def test_a_draw_is_that_of_the_literal_algorithm() -> None:
    window, literal = Window(Pieces()), Literal()
    stream = TextStream(code_like(), "Python", SMALL)
    for number in range(TABLES + 3):
        batch = stream.batch(number)
        window.push(batch)
        literal.push(batch)
        if number in (TABLES - 1, TABLES, TABLES + 2):
            for sigma, size in itertools.product((0.0, 1e-7, 1e-4, 0.5), (392, 700, 1000)):
                parameters = DrawParameters(size, sigma, key=1000 * number + size)
                expected, found = literal.draw(parameters), unigram(window, parameters)
                assert len(found) == size
                assert found.keys() == expected.keys()
                assert found == pytest.approx(expected, rel=1e-12)


def test_ties_are_broken_anew_in_every_draw() -> None:
    window = Window(Pieces())
    window.push([f"{first}{second}" for first in "abcdefghij" for second in "abcdefghij"])  # of " aa" come "Ġa" and "Ġaa", and all alike
    drawn = [frozenset(window.draw(DrawParameters(420, 0.0, key)).ids.tolist()) for key in range(20)]
    assert len(set(drawn)) == 20
    assert len(frozenset.intersection(*drawn)) == 10  # the ten "Ġa" score more


def test_a_window_that_cannot_fill_a_vocabulary_says_what_it_has() -> None:
    window = Window(Pieces())
    with pytest.raises(TooFewPieces, match="0 pieces in the window, 9 wanted"):
        window.draw(DrawParameters(400, 0.0, 0))
    window.push(["ab"])
    with pytest.raises(TooFewPieces) as raised:
        window.draw(DrawParameters(400, 0.0, 0))
    assert raised.value.found == 2


def test_the_order_in_which_pieces_came_up_does_not_matter() -> None:
    texts = code_like(count=40)
    windows = [Window(Pieces()) for _ in range(2)]
    windows[1].pieces.table(reversed(code_like(seed=5, count=300)))
    for window in windows:
        window.push(texts)
    first, second = (unigram(window, DrawParameters(600, 1e-5, 7)) for window in windows)
    assert first == second


def test_noise_is_standard_normal_and_another_one_under_another_key() -> None:
    fingerprints = np.arange(200_000, dtype=np.uint64)
    one, other = (normals(scramble(fingerprints, key)) for key in (1, 2))
    assert abs(one.mean()) < 0.01 and abs(one.std() - 1) < 0.01 and abs((one > 1.96).mean() - 0.025) < 0.002
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.01 and abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.01
    assert np.isfinite(normals(np.array([0, 2**64 - 1], np.uint64))).all()


def test_dice_are_a_function_of_seed_language_and_number() -> None:
    settings = SMALL.model_copy(update={"mean_size": 550.0, "size_std": 300.0})
    rolled = [draw_parameters(settings, "Python", number) for number in range(400)]
    assert rolled == [draw_parameters(settings, "Python", number) for number in range(400)]
    assert rolled[0] != draw_parameters(settings, "Go", 0) != draw_parameters(settings.model_copy(update={"seed": 1}), "Go", 0)
    assert {min(parameters.size for parameters in rolled), max(parameters.size for parameters in rolled)} == {400, 700}
    logs = np.log([parameters.sigma for parameters in rolled])
    assert abs(logs.mean() - math.log(1e-5)) < 0.6 and abs(logs.std() - 4) < 0.5


def test_without_noise_and_deviation_all_vocabularies_have_one_size() -> None:
    settings = SMALL.model_copy(update={"noise_mean": 0.0})
    assert {
        (parameters.size, parameters.sigma) for parameters in (draw_parameters(settings, "Python", number) for number in range(50))
    } == {(700, 0.0)}


def test_every_text_comes_once_before_any_comes_again_and_never_from_the_same_place() -> None:
    settings = SamplingSettings(texts=160, seed=3)
    texts = [f"<{index:04d}>" * 1000 for index in range(40)]
    stream = TextStream(texts, "Python", settings)
    batches = [stream.batch(number) for number in range(8)]
    rounds = [sorted(re.findall("[0-9]{4}", text)[0] for batch in batches[half : half + 4] for text in batch) for half in (0, 4)]
    assert rounds[0] == rounds[1] == [f"{index:04d}" for index in range(40)]
    assert batches[:4] != batches[4:] and all(len(text) == SPAN for batch in batches for text in batch)
    assert len({text for batch in batches for text in batch}) > 50  # spans of one text from other starts
    assert [TextStream(texts, "Python", settings).batch(number) for number in reversed(range(8))] == batches[::-1]


def test_a_short_text_is_taken_whole() -> None:
    assert set(TextStream(["short", ""], "Python", SamplingSettings(texts=32)).batch(5)) == {"short", ""}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_size": 391, "min_size": 391}, "it must be 392 or more, 256 bytes and 135 runs of blanks are in every vocabulary"),
        ({"max_size": 1000}, "it must be no less than the smallest size, 1024"),
        ({"mean_size": 40_000}, "it must be between the smallest and the largest size, 1024 and 32768"),
        ({"size_std": -1}, "greater than or equal to 0"),
        ({"noise_std": -1}, "greater than or equal to 0"),
        ({"noise_mean": math.nan}, "finite"),
        ({"texts": 100}, "multiple of 16"),
        ({"draws": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_have_bounds(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplingSettings.model_validate(values)
