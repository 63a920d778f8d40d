"""Replays: a training costs its steps, the share of the volume only grows, and the whole table is all of it."""

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from codenas.errors import ConfigError
from codenas.search.candidate import Budget
from codenas.search.replay.replay import ColumnRoles, Recorded, replay
from codenas.search.replay.table import Table
from codenas.search.strategies.registry import strategy
from tests.search.tables import synthetic_table

ROLES = ColumnRoles(("params", "latency_ms"), ("bits_per_byte",), capacity="params")
TABLE = synthetic_table()
RECORDED = Recorded.of(TABLE, ROLES)
LADDER = Budget(candidates=12, rungs=(50, 300), promote=(3,))


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_the_share_grows_with_the_trainings_and_a_seed_is_a_search(name: str) -> None:
    shares = replay(RECORDED, strategy(name), 30, 0)
    assert len(shares) == 30 and shares == sorted(shares) and 0 < shares[0] < shares[-1] < 1
    assert replay(RECORDED, strategy(name), 30, 0) == shares != replay(RECORDED, strategy(name), 30, 1)
    assert replay(RECORDED, strategy(name), 10, 0) == shares[:10]


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_all_rows_together_are_the_whole_volume(name: str) -> None:
    assert replay(RECORDED, strategy(name), len(TABLE), 0)[-1] == pytest.approx(1.0)


def test_three_objectives_are_a_volume_too() -> None:
    three = Recorded.of(TABLE, replace(ROLES, static=("params", "latency_ms", "size_bytes")))
    assert replay(three, strategy("random"), len(TABLE), 0)[-1] == pytest.approx(1.0)


def test_more_can_be_better() -> None:
    turned = Table(TABLE.path, {**TABLE.columns, "score@300": [-float(bits or 0) for bits in TABLE.columns["bits_per_byte@300"]]})
    recorded = Recorded.of(turned, ColumnRoles(ROLES.static, ("score",), frozenset({"score"}), "params", choices=tuple(TABLE.columns)[:4]))
    assert replay(recorded, strategy("evolution"), 20, 0) == pytest.approx(replay(RECORDED, strategy("evolution"), 20, 0))


def test_a_ladder_spends_no_more_steps_and_only_the_last_rung_counts() -> None:
    ladder = Recorded.of(TABLE, ROLES, LADDER)
    shares = replay(ladder, strategy("random"), 24, 0)
    assert shares[:2] == [0.0, 0.0]  # twelve to 50 steps take two trainings' worth
    assert shares == sorted(shares) and shares[2] > 0
    # A round takes 12 x 50 + 3 x 250 steps, 4.5 trainings: the third one is promoted to its end in the fifth.
    assert shares[4] > 0 and len(set(shares[:5])) <= 4


def test_a_ladder_whose_screening_is_exact_finds_the_best_of_each_round() -> None:
    exact = Table(TABLE.path, {**TABLE.columns, "bits_per_byte@50": TABLE.columns["bits_per_byte@300"]})
    alone = replace(ROLES, static=("params",))
    one_of_all = Budget(candidates=len(TABLE), rungs=(50, 300), promote=(1,))
    shares = replay(Recorded.of(exact, alone, one_of_all), strategy("random"), len(TABLE), 0)
    assert shares[-1] == pytest.approx(1.0)
    assert sum(share > 0 for share in shares) == len(TABLE) - math.ceil((50 * len(TABLE) + 250) / 300) + 1


def test_a_screen_judges_the_lower_rungs_in_place_of_the_metric() -> None:
    bits = TABLE.columns["bits_per_byte@300"]
    screened = Table(TABLE.path, {**TABLE.columns, "decayed@50": bits, "bits_per_byte@50": [-float(each or 0) for each in bits]})
    alone = ColumnRoles(("params",), ("bits_per_byte",), capacity="params", screen="decayed")
    good = replay(Recorded.of(screened, alone, LADDER), strategy("random"), 24, 0)[-1]
    bad = replay(Recorded.of(screened, replace(alone, screen=None), LADDER), strategy("random"), 24, 0)[-1]
    assert good > bad


def test_rows_that_failed_cost_their_training_and_bring_nothing() -> None:
    holes = synthetic_table(failed=0.5)
    recorded = Recorded.of(holes, ROLES)
    shares = replay(recorded, strategy("evolution"), 60, 0)
    assert shares == sorted(shares) and len(shares) == 60
    assert replay(recorded, strategy("random"), len(holes), 0)[-1] == pytest.approx(1.0)
    ladder = Recorded.of(holes, ROLES, LADDER)
    assert replay(ladder, strategy("evolution"), 40, 0)[-1] > 0


def test_a_fixed_ladder_takes_2700_steps_and_an_adaptive_one_stays_within_its_bounds() -> None:
    fixed = Recorded.of(TABLE, ROLES, Budget(candidates=24, rungs=(50, 300), promote=(6,)))
    adaptive = Recorded.of(TABLE, ROLES, Budget(candidates=24, rungs=(50, 300), promote=(10,), least=(2,)))
    for seed in range(10):
        rows = random.Random(seed).sample(range(len(TABLE)), 24)
        assert 24 * 50 + 250 * len(fixed.promoted_to_rung(rows, 1)) == 2_700
        going = adaptive.promoted_to_rung(rows, 1)
        assert 2 <= len(going) <= 10 and len(set(going)) == len(going) and set(going) <= set(rows)
        assert adaptive.promoted_to_rung(rows, 1) == going


def test_an_adaptive_ladder_with_equal_bounds_is_the_fixed_one() -> None:
    fixed, bounded = (Recorded.of(TABLE, ROLES, Budget(candidates=12, rungs=(50, 300), promote=(3,), least=least)) for least in ((), (3,)))
    assert replay(fixed, strategy("random"), 20, 0) == replay(bounded, strategy("random"), 20, 0)


def test_an_adaptive_ladder_is_replayed_like_any_other() -> None:
    recorded = Recorded.of(synthetic_table(failed=0.3), ROLES, Budget(candidates=12, rungs=(50, 300), promote=(6,), least=(2,)))
    shares = replay(recorded, strategy("evolution"), 24, 0)
    assert shares == sorted(shares) and shares[-1] > 0
    assert replay(recorded, strategy("evolution"), 24, 0) == shares


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (ColumnRoles(("params",), ()), "no metric is named that is known after training"),
        (ColumnRoles(("params",), ("params",)), "params is named twice"),
        (ColumnRoles(("params",), ("loss",)), "made-up.parquet has no column 'loss'; its columns are choice.width, "),
        (ColumnRoles(("flops",), ("bits_per_byte",)), "has no column 'flops'"),
        (replace(ROLES, capacity="size_bytes"), "the capacity size_bytes is not among the static metrics, params, latency_ms"),
        (
            replace(ROLES, maximized=frozenset({"params"})),
            "params cannot be maximized: it is not among the objectives, bits_per_byte, latency",
        ),
        (replace(ROLES, choices=("colour",)), "has no column 'colour'"),
    ],
)
def test_names_that_make_no_sense_are_refused(roles: ColumnRoles, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recorded.of(TABLE, roles)


def test_a_rung_that_was_not_recorded_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'bits_per_byte@100'"):
        Recorded.of(TABLE, ROLES, Budget(candidates=4, rungs=(100, 300), promote=(1,)))


def test_a_table_whose_rows_are_all_equal_or_failed_is_refused() -> None:
    same = Table(Path("t.npz"), {"a": [1, 2], "loss": [1.0, 1.0]})
    with pytest.raises(ConfigError, match="2 rows were trained to the end, and do not differ in all of loss"):
        Recorded.of(same, ColumnRoles((), ("loss",)))
    with pytest.raises(ConfigError, match="0 rows were trained to the end"):
        Recorded.of(Table(Path("t.npz"), {"a": [1, 2], "loss": [None, None]}), ColumnRoles((), ("loss",)))


def test_more_trainings_than_rows_are_refused() -> None:
    RECORDED.require_rows(len(TABLE))
    with pytest.raises(ConfigError, match="the table has 216 rows; 217 trainings are too many"):
        RECORDED.require_rows(217)
